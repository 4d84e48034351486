"""A process that has torch imported, and is copied for each worker process that Ray wants.

A program: SOCKET LIFELINE, two descriptors; or a copy of its driver. It ends when that does.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import resource
import runpy
import select
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from actors.launch import uid_of_peer
from actors.programs import run_in_a_copy

AT_ONCE = ("torch", "ray_easgd.loop", "ray_easgd.aggregator", "ray_easgd.evaluate")
"""What takes longest, and a driver needs too."""

_OURS_ALONE = ("ray_easgd.shared.hall", "google.protobuf.json_format", "grpc.aio")
# Ray's library reads the environment as it is loaded, the raylet's process id too: not before.
_WHEN_ASKED = (
    *("ray._private.workers.default_worker", "actors.worker", "actors.center"),
    *("actors.aggregator", "actors.controller", "actors.evaluator"),
)
_PATIENCE_S = 3.0  # with who is slow to say what it wants, and then becomes that by itself
_THREADS = "OMP_NUM_THREADS"
_OF_NO_JOB = {"RAY_JOB_ID": "ffffffff"}  # as in the processes Ray starts before it is asked for any


def main() -> None:
    import_all(AT_ONCE)
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))


def serve(server: socket.socket, lifeline: int) -> None:
    """Until the lifeline's other end is closed, whatever this process was before."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    import_all(_OURS_ALONE)
    is_complete = False
    while lifeline not in select.select([server.fileno(), lifeline], [], [])[0]:
        client, _ = server.accept()
        client.settimeout(_PATIENCE_S)
        streams: Sequence[int] = ()
        with client, contextlib.suppress(OSError, ValueError):  # it ended, or stands still
            if uid_of_peer(client) != os.getuid():
                continue
            streams = socket.recv_fds(client, 1, 3)[1]
            with client.makefile("rb") as asked:
                order: dict[str, Any] = json.load(asked)
            if not is_complete:
                _take_environment(order["environment"] | _OF_NO_JOB)
                import_all(_WHEN_ASKED)
                is_complete = True
            ended = (server.fileno(), client.fileno(), lifeline)
            run_in_a_copy(partial(_live, order, streams, ended))
            client.sendall(b"!")
        for stream in streams:
            os.close(stream)


def _live(order: dict[str, Any], streams: Sequence[int], ended: Sequence[int]) -> None:
    """Be the process that Ray has asked for, as if it had just been started."""
    import numpy as np

    for k, stream in enumerate(streams):
        os.dup2(stream, k)
    for descriptor in (*streams, *ended):
        os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(k, "w", 1, closefd=False) for k in (1, 2))
    _take_environment(order["environment"])
    os.chdir(order["cwd"])
    os.nice(max(0, order["niceness"] - os.nice(0)))
    resource.setrlimit(resource.RLIMIT_NOFILE, order["descriptors"])
    Path("/proc/self/oom_score_adj").write_text(order["oom_score"], "ascii")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, order["blocked"])
    random.seed()
    np.random.seed()
    sys.argv = order["argv"]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    runpy.run_path(sys.argv[0], run_name="__main__")


def _take_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def import_all(names: Sequence[str]) -> None:
    """For good, with one thread for OpenMP and BLAS, which look for their number when loaded.

    As Ray gives it to a worker of one CPU, unless the user has set another.
    """
    is_set = _THREADS in os.environ
    os.environ.setdefault(_THREADS, "1")
    gc.disable()  # a sixth of the time, to find nothing
    try:
        for name in names:
            import_module(name)
    finally:
        gc.enable()
        gc.freeze()  # or the first collection in a copy would write to every page of it
    if not is_set:
        del os.environ[_THREADS]


if __name__ == "__main__":
    main()
