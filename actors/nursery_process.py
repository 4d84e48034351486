"""A process that has torch imported, and is copied for each worker process that Ray wants.

A program: SOCKET LIFELINE, two descriptors. It ends when its driver does.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

_AT_ONCE = (
    *("torch", "google.protobuf.json_format", "grpc.aio", "ray_easgd.shared.hall"),
    *("ray_easgd.loop", "ray_easgd.aggregator", "ray_easgd.evaluate", "ray_easgd.checkpoint"),
)
# Ray's library reads the environment as it is loaded: only once a worker's environment is known.
_WHEN_ASKED = (
    *("ray._private.workers.default_worker", "actors.worker", "actors.center"),
    *("actors.aggregator", "actors.controller", "actors.evaluator"),
)
_OF_NO_JOB = {"RAY_JOB_ID": "ffffffff"}  # as in the processes Ray starts before it is asked for any


class Birth(NamedTuple):
    """What a copy is to be: Ray's order, and the descriptors of its standard streams."""

    order: dict[str, Any]
    streams: Sequence[int]


def main() -> None:
    server = socket.socket(fileno=int(sys.argv[1]))
    lifeline = int(sys.argv[2])
    _import(_AT_ONCE)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    birth = _wait_for_birth(server, lifeline)
    if birth is not None:
        _live(birth)


def _wait_for_birth(server: socket.socket, lifeline: int) -> Birth | None:
    """Serve. Returns in each copy with its birth, and without one when the driver is gone."""
    is_complete = False
    while lifeline not in select.select([server.fileno(), lifeline], [], [])[0]:
        client, _ = server.accept()
        streams: Sequence[int] = ()
        with client, contextlib.suppress(OSError, ValueError):  # it ended before it had asked
            streams = socket.recv_fds(client, 1, 3)[1]
            with client.makefile("rb") as asked:
                order: dict[str, Any] = json.load(asked)
            if not is_complete:
                _take_environment(order["environment"] | _OF_NO_JOB)
                _import(_WHEN_ASKED)
                is_complete = True
            if os.fork() == 0:
                for ended in (server.detach(), client.detach(), lifeline):
                    os.close(ended)
                return Birth(order, streams)
            client.sendall(b"!")
        for stream in streams:
            os.close(stream)
    return None


def _live(birth: Birth) -> None:
    """Be the process that Ray has asked for, as if it had just been started."""
    import numpy as np

    order, streams = birth
    os.setsid()  # Ray ends whatever is in the process group of a worker that ends
    for k, stream in enumerate(streams):
        os.dup2(stream, k)
        os.close(stream)
    _take_environment(order["environment"])
    os.chdir(order["cwd"])
    os.nice(max(0, order["niceness"] - os.nice(0)))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, order["blocked"])
    random.seed()
    np.random.seed()
    sys.argv = order["argv"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


def _take_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _import(names: Sequence[str]) -> None:
    for name in names:
        import_module(name)
    gc.collect()
    gc.freeze()  # or the first collection in a copy would write to every page of it


if __name__ == "__main__":
    main()
