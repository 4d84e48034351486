"""Processes of this machine, as Linux tells of them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path


def began_at() -> float:
    """Unix time at which this process was started; now, where the system does not tell."""
    with contextlib.suppress(OSError, AttributeError):
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - max(0.0, age_s)
    return time.time()


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        for tasks in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, tasks.read_text().split())
    return found


def end_family(pid: int) -> None:
    """Kill a process and those who are below it now, and wait until they have ended."""
    with contextlib.ExitStack() as opened:
        ends = []
        for one in family(pid):
            with contextlib.suppress(ProcessLookupError):
                end = os.pidfd_open(one)
                opened.callback(os.close, end)
                signal.pidfd_send_signal(end, signal.SIGKILL)
                ends.append(end)
        for end in ends:
            has_ended(end)


def has_ended(end: int, within_s: float | None = None) -> bool:
    """Whether the process of a pidfd is gone: once it is, or after so long."""
    ended = select.poll()
    ended.register(end, select.POLLIN)
    return bool(ended.poll(None if within_s is None else 1000 * within_s))


def is_alive(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def memory_bytes(pid: int) -> int:
    """What it holds of the memory, its share of what it shares with others; 0 if it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
