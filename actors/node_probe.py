"""What only a process on a node can see. Sent there by value: the node may not know this project.

So it imports nothing but the standard library, and returns nothing of ours.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_WORDS = {"T": "stopped (SIGSTOP)", "t": "stopped by a debugger", "D": "waiting for a disk"}
_MORE_WORDS = {"R": "running", "S": "asleep", "I": "idle", "Z": "dead, its parent not told"}


def probe(pids: Sequence[int], proc: str = "/proc") -> dict[str, Any]:
    """Sizes, load, and the states of those processes."""
    shm_bytes = 0
    with suppress(OSError):
        at = os.statvfs("/dev/shm")
        shm_bytes = at.f_blocks * at.f_frsize
    return {
        "shm_bytes": shm_bytes,
        "store_in": _store_folder(Path(proc) / os.environ.get("RAY_RAYLET_PID", "")),
        "load": os.getloadavg()[0],
        "cores": os.cpu_count() or 0,
        "processes": {pid: _state(Path(proc) / str(pid)) for pid in pids},
    }


def _state(process: Path) -> str:
    """As the kernel has it; see proc(5)."""
    try:
        line = (process / "stat").read_text("utf-8", "replace")
    except FileNotFoundError:
        return "gone"
    except OSError:
        return ""
    letter = line.rpartition(")")[2].split()[0]
    return {**_WORDS, **_MORE_WORDS}.get(letter, f"in state {letter}")


def _store_folder(raylet: Path) -> str:
    """Where the raylet keeps its object store, by its command line; empty where it does not say."""
    with suppress(OSError):
        for word in (raylet / "cmdline").read_text("utf-8", "replace").split("\0"):
            name, _, folder = word.partition("=")
            if name.strip("-") == "plasma_directory":
                return folder
    return ""
