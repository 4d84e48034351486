"""Worker processes of the clusters that we start are copies of one that has its imports done.

Each process of a run needs torch, Ray and our actors: five seconds of a core, and on a machine of
few cores they wait for each other. So one process imports them while Ray starts, and forks for each
that Ray wants (``nursery_process.py``); Ray runs ``launch.py`` instead of its own program, which
asks for a copy, and does as Ray would where there is none to be had.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray._private.ray_constants as ray_constants

from actors import launch

_HOOK = "SETUP_WORKER_FILENAME"


@contextmanager
def nursery() -> Iterator[None]:
    """Ray nodes that this process starts in the block take their worker processes from a nursery.

    The processes outlive the block as Ray lets them; the nursery ends with it, and with us.
    """
    if sys.platform != "linux" or not hasattr(ray_constants, _HOOK):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="ray-easgd-") as folder:
        path = f"{folder}/nursery"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(path)
            server.listen(128)
            ours, theirs = os.pipe()
            process = subprocess.Popen(
                [sys.executable, "-m", "actors.nursery_process", str(server.fileno()), str(ours)],
                pass_fds=(server.fileno(), ours),
                start_new_session=True,  # Ctrl-C is for the driver
            )
            os.close(ours)
        try:
            with _instead_of_rays_own(path):
                yield
        finally:
            process.terminate()  # it may be in the middle of its imports
            process.wait()
            os.close(theirs)


@contextmanager
def _instead_of_rays_own(path: str) -> Iterator[None]:
    """Ray joins that name to its folder, where an absolute one wins."""
    before, address_before = getattr(ray_constants, _HOOK), os.environ.get(launch.ADDRESS)
    setattr(ray_constants, _HOOK, str(Path(launch.__file__).resolve()))
    os.environ[launch.ADDRESS] = path
    try:
        yield
    finally:
        setattr(ray_constants, _HOOK, before)
        del os.environ[launch.ADDRESS]
        if address_before is not None:
            os.environ[launch.ADDRESS] = address_before
