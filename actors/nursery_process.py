"""A process that has torch imported, and is copied for each worker process that Ray wants.

A program: SOCKET LIFELINE, two descriptors; or a copy of its driver. It ends when that does.
"""

from __future__ import annotations

import atexit
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
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

AT_ONCE = ("torch", "ray_easgd.loop", "ray_easgd.aggregator", "ray_easgd.evaluate")
"""What takes longest, and a driver needs too."""

_OURS_ALONE = ("ray_easgd.shared.hall", "google.protobuf.json_format", "grpc.aio")
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
    _import(AT_ONCE)
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))


def serve(server: socket.socket, lifeline: int) -> NoReturn:
    """Until the lifeline's other end is closed, whatever this process was before."""
    _as_a_program(partial(_serve, server, lifeline))


def _serve(server: socket.socket, lifeline: int) -> None:
    _import(_OURS_ALONE)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    birth = _wait_for_birth(server, lifeline)
    if birth is not None:
        _live(birth)


def _as_a_program(run: Callable[[], None]) -> NoReturn:
    """Run it and end as an interpreter does. Who called us, in a copy, is nobody to return to."""
    code = 1
    try:
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        if isinstance(error := sys.exc_info()[1], BaseException):
            traceback.print_exception(error)
        atexit._run_exitfuncs()  # noqa: SLF001  (as multiprocessing does)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


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
