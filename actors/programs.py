"""Our own programs as processes of their own."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress

_RUN = (
    "import json, runpy, sys; path, module = sys.argv[1:3]; del sys.argv[1:3]; "
    "sys.path[:] = json.loads(path); runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def command(module: str, *words: str) -> list[str]:
    """Runs a module of ours, which is found where this process has found us."""
    return [sys.executable, "-c", _RUN, json.dumps(sys.path), module, *words]


def run_in_a_copy(run: Callable[[], None]) -> int:
    """The process id of a copy of this one, which ends when it has run that.

    Nothing above us on the stack is the copy's, so it never returns there, come what may.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.flush()  # or the copy would write the same once more
    later = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # numpy sees to its own threads
            pid = os.fork()
    except OSError:  # no room for one more
        signal.pthread_sigmask(signal.SIG_SETMASK, later)
        raise
    if pid == 0:
        code = 1
        try:
            os.setsid()  # Ctrl-C is for whom we are a copy of
            signal.pthread_sigmask(signal.SIG_SETMASK, later)
            code = _as_a_program(run)
        finally:
            os._exit(code)
    signal.pthread_sigmask(signal.SIG_SETMASK, later)
    return pid


def _as_a_program(run: Callable[[], None]) -> int:
    """Run it and end as an interpreter does; its exit code."""
    code = 1
    try:
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        if (error := sys.exc_info()[1]) is not None:
            traceback.print_exception(error)
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  (as multiprocessing)
        atexit._run_exitfuncs()  # noqa: SLF001
        sys.stdout.flush()
        sys.stderr.flush()
    return code
