"""To stop a process as its machine's owner may, and know that it has stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_WAIT_S = 60.0


def stop(pid: int) -> None:
    """SIGSTOP, and wait for all threads: one that has a processor goes on until another sees it."""
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + _WAIT_S
    while any(_state(task) not in "TZ" for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < until, f"process {pid} does not stop"
        time.sleep(0.001)


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"  # it has ended since
