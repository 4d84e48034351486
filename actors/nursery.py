"""Worker processes of the clusters that we start are copies of one that has its imports done.

Each process of a run needs torch, Ray and our actors: five seconds of a core, and on a machine of
few cores they wait for each other. So one process imports them while Ray starts, and forks for each
that Ray wants (``nursery_process.py``); Ray runs ``launch.py`` instead of its own program, which
asks for a copy, and does as Ray would where there is none to be had.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from actors import launch, nursery_process

_HOOK = "SETUP_WORKER_FILENAME"


class Nursery:
    """A socket where copies are asked for, and the process that makes them, once it serves."""

    def __init__(self, server: socket.socket, path: str) -> None:
        self._server = server
        self._lifeline, self._ours = os.pipe()
        self._ending = ExitStack()
        for end in (self._lifeline, self._ours):
            self._ending.callback(os.close, end)
        self.environment = {launch.ADDRESS: path}
        """What tells a process of Ray's where it is."""

    def serve(self) -> None:
        """From a fresh process."""
        server, lifeline = self._server.fileno(), self._lifeline
        process = subprocess.Popen(
            [sys.executable, "-m", "actors.nursery_process", str(server), str(lifeline)],
            pass_fds=(server, lifeline),
            start_new_session=True,  # Ctrl-C is for the driver
        )
        self._ending.callback(process.wait)
        self._ending.callback(process.kill)

    def serve_from_a_copy(self, *, not_for_it: Sequence[IO[str]]) -> None:
        """From a copy of this process, which has torch imported, no Ray, and one thread."""
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.close(self._ours)
            for stream in not_for_it:
                os.close(stream.fileno())
            nursery_process.serve(self._server, self._lifeline)
        self._ending.callback(os.waitpid, pid, 0)
        self._ending.callback(os.kill, pid, signal.SIGKILL)

    def end(self) -> None:
        """Whatever it is at. Its copies go on."""
        self._ending.close()


@contextmanager
def opened() -> Iterator[Nursery]:
    """One that does not serve yet: who asks waits. It ends with the block, and with us."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-easgd-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server,
    ):
        path = f"{folder}/nursery"
        server.bind(path)
        server.listen(128)
        found = Nursery(server, path)
        try:
            yield found
        finally:
            found.end()


@contextmanager
def nursery() -> Iterator[None]:
    """Ray nodes that this process starts in the block take their worker processes from one.

    The processes outlive the block as Ray lets them.
    """
    if sys.platform != "linux":
        yield
        return
    with opened() as found:
        found.serve()
        before = os.environ.get(launch.ADDRESS)
        os.environ.update(found.environment)
        try:
            with taken_from_it():
                yield
        finally:
            del os.environ[launch.ADDRESS]
            if before is not None:
                os.environ[launch.ADDRESS] = before


@contextmanager
def taken_from_it() -> Iterator[None]:
    """Ray runs ``launch.py`` first: it joins that name to a folder, where an absolute one wins."""
    import ray._private.ray_constants as ray_constants

    before = getattr(ray_constants, _HOOK, None)
    setattr(ray_constants, _HOOK, str(Path(launch.__file__).resolve()))
    try:
        yield
    finally:
        setattr(ray_constants, _HOOK, before)
