"""What a process did, line by line, where it can be read after the process was killed.

Each line is one ``write`` of the system, so that SIGKILL leaves all of them whole but perhaps the
last. The audit of a run (``audit.py``) believes these, not the processes.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STEP_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Entry:
    """What ``who`` (in its life ``pid``) wrote at Unix time ``at``."""

    who: str
    pid: int
    kind: str
    at: float
    values: dict[str, Any]


class Journal:
    """One process's. For several threads: a line goes out in one piece."""

    def __init__(self, folder: str, who: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(folder, f"{who}.{os.getpid()}.jsonl")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._stepped_at = 0.0

    def write(self, kind: str, **values: object) -> None:
        """Of JSON's types."""
        line = json.dumps({"kind": kind, "at": time.time(), **values})
        os.write(self._file, line.encode() + b"\n")

    def stepped(self, clock: int) -> None:
        """A gradient step was taken; not every one is written down."""
        now = time.monotonic()
        if now - self._stepped_at >= _STEP_EVERY_S:
            self._stepped_at = now
            self.write("step", clock=clock)


class Journals:
    """All of a folder, read as they grow.

    ``entries`` by kind, and the ``latest`` of each process; nearly in the order of time.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._read: dict[Path, int] = {}
        self.entries: dict[str, list[Entry]] = {}
        self.latest: dict[tuple[str, int], Entry] = {}

    def look(self) -> None:
        """Take in what was written since the last look."""
        new: list[Entry] = []
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                whole, end, _ = file.read().rpartition(b"\n")  # the last line may be torn
            self._read[path] = self._read.get(path, 0) + len(whole) + len(end)
            who, pid = path.stem.rsplit(".", 1)
            for line in whole.splitlines():
                values = json.loads(line)
                kind, at = values.pop("kind"), values.pop("at")
                new.append(Entry(who, int(pid), kind, at, values))
        for entry in sorted(new, key=lambda entry: entry.at):
            self.entries.setdefault(entry.kind, []).append(entry)
            self.latest[entry.who, entry.pid] = entry

    def all(self) -> list[Entry]:
        """Every entry, kind by kind."""
        return [entry for kind in self.entries.values() for entry in kind]
