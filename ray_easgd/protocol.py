"""The words that child and hub exchange. Values only: no behavior, no torch, no ray.

A *child* (worker or aggregator) meets its *hub* in exchanges: it pulls a snapshot, computes an
elastic difference and pushes it. See docs/mathematics.md, 2.2 and 2.14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

PROTOCOL = 1
"""Raised when ``ray_easgd`` and ``actors`` stop fitting together; checked where one imports the
other."""

WireFormat = Literal["float32", "bfloat16", "int8"]
"""How vectors travel: as they are, or coded with a rounding that both ends apply."""

ALONE_BY_METHOD = "the method's center does more than add up what arrives"
"""Why a hub shares no memory, where that is its method's nature."""


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """A hub's state: which life of its state (``epoch``), and how many pushes it has applied."""

    epoch: int
    count: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.count}"


@dataclass(frozen=True, order=True, slots=True)
class Interval:
    """Positions ``start <= k < stop`` of a data epoch's seeded permutation."""

    epoch: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def overlaps(self, other: Interval) -> bool:
        """Whether the two share a position."""
        same = self.epoch == other.epoch
        return same and self.start < other.stop and other.start < self.stop


Intervals = tuple[Interval, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PushHeader:
    """What travels with an elastic difference.

    ``checksum`` is ``r . d`` in float64 for the edge ledger, or None where the ledger is off.
    ``progress`` is the data whose gradient steps this push carries, ``steps`` their number.
    ``clock`` is the child's local clock; ``taken_at`` what it was when the center of
    ``computed_from`` was taken in, ``moving_rate`` the rate that came with it.
    """

    incarnation: int
    sequence: int
    computed_from: Version
    steps: int
    clock: int = 0
    taken_at: int = 0
    moving_rate: float = 0.0
    progress: tuple[Interval, ...] = ()
    checksum: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotHeader:
    """What travels with a published copy of a hub's vector.

    ``applied`` maps each incarnation to the last sequence this snapshot contains; together with
    the vector it is one cut, and so is ``progress``, the data trained on. ``moving_rate`` is the
    rate both ends of the next exchange use.
    """

    version: Version
    moving_rate: float
    applied: Mapping[int, int] = field(default_factory=dict)
    steps: int = 0
    samples: int = 0
    progress: tuple[Interval, ...] = ()


class Outcome(Enum):
    """What became of a push."""

    APPLIED = "applied"
    GATHERED = "gathered"  # kept for its round, which is not complete yet
    DUPLICATE = "duplicate"  # applied before: the acknowledgement was lost, not the push
    GAP = "gap"  # an earlier push of this incarnation is missing: send that one first
    REFUSED = "refused"  # a dead incarnation, or one this hub never admitted
    STALE = "stale"  # computed from too old a center: not applied, the child takes it back
    NOT_FINITE = "not_finite"  # the guard found it on the way: nothing of that block was written


@dataclass(frozen=True, kw_only=True, slots=True)
class PushReply:
    """A hub's answer. ``staleness``: hub version when applied minus version computed from.

    ``sequence`` is that of a push that is ``STALE``.
    """

    outcome: Outcome
    version: Version
    staleness: int = 0
    sequence: int = 0
