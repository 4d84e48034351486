"""Worker processes of the clusters that we start are copies of one that has its imports done.

Each process of a run needs torch, Ray and our actors: five seconds of a core, and on a machine of
few cores they wait for each other. So one process imports them while Ray starts, and forks for each
that Ray wants (``nursery_process.py``); Ray runs ``launch.py`` instead of its own program, which
asks for a copy, and does as Ray would where there is none to be had.
"""

from __future__ import annotations

import atexit
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from actors import launch, nursery_process
from actors.programs import command, run_in_a_copy

_HOOK = "SETUP_WORKER_FILENAME"

IS_POSSIBLE = sys.platform == "linux"


class Nursery:
    """A socket where copies are asked for, and the process that makes them, once it serves.

    Until then who asks waits. Once that process is gone, nobody holds the socket, and who asks
    hears so at once.
    """

    def __init__(self) -> None:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lifeline, ours = os.pipe()
        self._ours = ours
        self._ending = ExitStack()
        self._ending.callback(os.close, ours)
        name = f"ray-easgd-{secrets.token_hex(16)}"
        self._server.bind(f"\0{name}")
        self._server.listen(128)
        self.environment = {launch.ADDRESS: name}
        """What tells a process of Ray's where it is."""
        self.pid = 0

    def serve(self) -> None:
        """From a fresh process."""
        descriptors = self._server.fileno(), self._lifeline
        process = subprocess.Popen(
            command("actors.nursery_process", *map(str, descriptors)),
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C is for the driver
        )
        self._ending.callback(process.wait)
        self._ending.callback(process.kill)
        self._is_served_by(process.pid)

    def serve_from_a_copy(self, *, not_for_it: Sequence[IO[str]]) -> None:
        """From a copy of this process, which has torch imported and no Ray, and starts nothing."""

        def serve() -> None:
            atexit._clear()  # noqa: SLF001  (those are the driver's)
            os.close(self._ours)
            for stream in not_for_it:
                os.close(stream.fileno())
            nursery_process.serve(self._server, self._lifeline)

        pid = run_in_a_copy(serve)
        self._ending.callback(os.waitpid, pid, 0)
        self._ending.callback(os.kill, pid, signal.SIGKILL)
        self._is_served_by(pid)

    def end(self) -> None:
        """Whatever it is at. Its copies go on."""
        self._ending.close()
        if not self.pid:
            self._is_served_by(0)

    def _is_served_by(self, pid: int) -> None:
        self.pid = pid
        self._server.close()
        os.close(self._lifeline)


@contextmanager
def opened() -> Iterator[Nursery]:
    """One that does not serve yet. It ends with the block, and with us."""
    found = Nursery()
    try:
        yield found
    finally:
        found.end()


@contextmanager
def nursery() -> Iterator[None]:
    """Ray nodes that this process starts in the block take their worker processes from one.

    The processes outlive the block as Ray lets them.
    """
    if not IS_POSSIBLE:
        yield
        return
    with opened() as found:
        found.serve()
        os.environ.update(found.environment)
        try:
            with taken_from_it():
                yield
        finally:
            del os.environ[launch.ADDRESS]


@contextmanager
def taken_from_it() -> Iterator[None]:
    """Ray runs ``launch.py`` first: it joins that name to a folder, where an absolute one wins."""
    import ray._private.ray_constants as ray_constants

    before = getattr(ray_constants, _HOOK, None)
    if before is None:  # not as in the Ray we know
        yield
        return
    setattr(ray_constants, _HOOK, str(Path(launch.__file__).resolve()))
    try:
        yield
    finally:
        setattr(ray_constants, _HOOK, before)
