"""What shaped each hub, in order: who joined, each push applied, who left.

With the configuration and its seed this is enough to run it all again and end in the same center
to the bit (``ray_easgd/simulator/replay.py``). On disk a line of JSON each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TextIO

import numpy as np

from ray_easgd.errors import BadStorage
from ray_easgd.protocol import Interval, PushHeader, Version
from ray_easgd.strict_json import dumps

FORMAT = 1
CENTER = "center"


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """A child was admitted, and took over the center of ``version``."""

    child: str
    incarnation: int
    version: Version


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """A push was applied, which made ``version``; ``staleness`` as its hub counted it."""

    header: PushHeader
    version: Version
    staleness: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """A life ended: by a goodbye, or ``lost``."""

    incarnation: int
    lost: bool
    version: Version


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """An aggregator was moved by its parent, which made ``version``; the parent has the push."""

    version: Version


Record = Joined | Pushed | Left | Moved


def as_json(record: Record) -> dict[str, Any]:
    """A record as one flat JSON object."""
    version = [record.version.epoch, record.version.count]
    if isinstance(record, Joined):
        return {
            "event": "join",
            "child": record.child,
            "incarnation": record.incarnation,
            "version": version,
        }
    if isinstance(record, Left):
        return {
            "event": "leave",
            "incarnation": record.incarnation,
            "lost": record.lost,
            "version": version,
        }
    if isinstance(record, Moved):
        return {"event": "move", "version": version}
    header = record.header
    return {
        "event": "push",
        "incarnation": header.incarnation,
        "sequence": header.sequence,
        "computed_from": [header.computed_from.epoch, header.computed_from.count],
        "steps": header.steps,
        "clock": header.clock,
        "taken_at": header.taken_at,
        "moving_rate": header.moving_rate,
        "progress": [[i.epoch, i.start, i.stop] for i in header.progress],
        "checksum": header.checksum,
        "version": version,
        "staleness": record.staleness,
    }


def from_json(line: Mapping[str, Any]) -> Record:
    """The record that ``as_json`` wrote."""
    version = Version(*line["version"])
    if line["event"] == "join":
        return Joined(child=line["child"], incarnation=line["incarnation"], version=version)
    if line["event"] == "leave":
        return Left(incarnation=line["incarnation"], lost=line["lost"], version=version)
    if line["event"] == "move":
        return Moved(version=version)
    header = PushHeader(
        incarnation=line["incarnation"],
        sequence=line["sequence"],
        computed_from=Version(*line["computed_from"]),
        steps=line["steps"],
        clock=line["clock"],
        taken_at=line["taken_at"],
        moving_rate=line["moving_rate"],
        progress=tuple(Interval(*i) for i in line["progress"]),
        checksum=line["checksum"],
    )
    return Pushed(header=header, version=version, staleness=line["staleness"])


def children_of(records: Iterable[Record]) -> dict[int, str]:
    """Whose life each incarnation was."""
    return {r.incarnation: r.child for r in records if isinstance(r, Joined)}


def fingerprint(vector: Any) -> str:
    """The SHA-256 of a CPU tensor's or an array's bytes: equal only where all bits are."""
    return hashlib.sha256(np.ascontiguousarray(vector).tobytes()).hexdigest()


class TraceFile:
    """A trace on disk: a head with the configuration, a line a record, an end with the center."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    @classmethod
    def create(cls, path: str, config: Mapping[str, Any], *, kind: str) -> TraceFile:
        """Begin a file; BadStorage where it cannot be written."""
        try:
            file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115  closed by __exit__
        except OSError as error:
            raise BadStorage(
                "--trace", path, str(error.strerror), "Give a file that can be written."
            ) from error
        trace = cls(file)
        trace._line({"trace": FORMAT, "kind": kind, "config": config})
        return trace

    def write(self, record: Record, **details: Any) -> None:
        """Add a record."""
        self._line(as_json(record) | details)

    def seat(self, child: str, life: int, *, schedule_offset: int) -> None:
        """A life that enters its learning rate's schedule later than at its beginning."""
        line = {"event": "seat", "child": child, "life": life, "schedule_offset": schedule_offset}
        self._line(line)

    def end(self, version: Version, center: Any) -> None:
        """The center it all led to."""
        line = {"event": "end", "version": [version.epoch, version.count]}
        self._line(line | {"center_sha256": fingerprint(center)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _line(self, line: Mapping[str, Any]) -> None:
        self._file.write(dumps(dict(line)) + "\n")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A trace read back. ``hubs`` holds each hub's records, in its own order; ``center_sha256`` is
    None if it has no end. ``offsets`` into the schedule, by child and life, where there are any.
    """

    kind: str
    config: Mapping[str, Any]
    hubs: Mapping[str, tuple[Record, ...]]
    center_sha256: str | None
    offsets: Mapping[tuple[str, int], int] = field(default_factory=dict)

    @property
    def records(self) -> tuple[Record, ...]:
        """The center's."""
        return self.hubs.get(CENTER, ())


def read_trace(path: str) -> Trace:
    """Read what ``TraceFile`` wrote; BadStorage for what is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return _trace_of([json.loads(line) for line in text.removesuffix("\n").split("\n")])
    except OSError as error:
        problem = str(error.strerror)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        problem = f"it is no trace of this version ({type(error).__name__}: {error})"
    raise BadStorage("--replay", path, problem, "Give a file that --trace wrote.")


def _trace_of(lines: Sequence[Mapping[str, Any]]) -> Trace:
    head, *rest = lines
    if head["trace"] != FORMAT:
        raise ValueError(f"format {head['trace']}, not {FORMAT}")
    ends = [line["center_sha256"] for line in rest if line["event"] == "end"]
    seats = [line for line in rest if line["event"] == "seat"]
    hubs: dict[str, list[Record]] = {}
    for line in rest:
        if line["event"] not in ("end", "seat"):
            hubs.setdefault(line.get("hub", CENTER), []).append(from_json(line))
    return Trace(
        kind=head["kind"],
        config=head["config"],
        hubs={name: tuple(records) for name, records in hubs.items()},
        center_sha256=ends[-1] if ends else None,
        offsets={(seat["child"], seat["life"]): seat["schedule_offset"] for seat in seats},
    )
