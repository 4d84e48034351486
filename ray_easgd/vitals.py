"""A run's numbers at one moment, and over a stretch of time: what its metrics are computed from.

Values only. Whoever watches a run fills in ``Vitals`` now and then and hands them to ``Recent``,
which remembers the last minute: rates are differences, so that a worker that is stopped, and says
nothing any more, has the rate 0 instead of its last one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

STATES = ("waiting", "starting", "training", "leaving", "lost", "done")
"""What a worker can be. ``waiting``: for room on the cluster."""

_SPAN_S = 60.0  # a step of 20 s counts 2 to 4 times in it: as much as the rates can be told apart
_LEAST_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """One life of a worker, or an aggregator, and what it has done since it began.

    ``level`` is that of its edge, as in ``topology.levels``: 0 for a child of the center.
    ``exchange_s``: seconds that its exchanges were under way. ``staleness`` and ``distance`` at its
    latest one; NaN where there was none.
    """

    level: int
    steps: int = 0
    is_training: bool = False
    exchanges: int = 0
    exchange_s: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    staleness: float = math.nan
    distance: float = math.nan
    is_there: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Vitals:
    """A run at one moment. ``children`` by names that no other life ever has.

    ``useful_steps``: gradient steps that the center has, without those on data it had already.
    ``worker_s``: the seconds of all workers together, those that waited for room left out.
    Steps and seconds are this driver's: a run that is resumed begins at 0 again.
    """

    version: int = 0
    epoch: int = 0
    samples: int = 0
    samples_repeated: int = 0
    useful_steps: float = 0.0
    children: Mapping[str, Child] = field(default_factory=dict)
    states: Mapping[str, int] = field(default_factory=dict)
    wanted: int = 0
    loss: float = math.nan
    val_accuracy: float = math.nan
    lost: int = 0
    crashes_in_a_row: int = 0
    restarts: int = 0
    leases_held: int = 0
    leases_returned: int = 0
    worker_s: float = 0.0
    price_per_hour: float = math.nan

    @property
    def paid_steps(self) -> int:
        """Gradient steps that anybody has taken."""
        return sum(child.steps for child in self.children.values())

    @property
    def levels(self) -> list[int]:
        """The levels that have children, the center's first."""
        return sorted({child.level for child in self.children.values()})


@dataclass(frozen=True, slots=True)
class Stretch:
    """The last ``seconds`` of a run: what it was before, and is now.

    ``step_rates``: steps a second of each worker that trains, and has for a while.
    """

    before: Vitals
    now: Vitals
    seconds: float
    step_rates: tuple[float, ...] = ()

    def per_s(self, before: float, now: float) -> float:
        """A rate; NaN before there is anything to compare.

        A hub that goes on from an older copy counts back: that is no rate below 0.
        """
        return max(0.0, now - before) / self.seconds if self.seconds else math.nan

    def gained(self, count: str, level: int) -> float:
        """What all children of a level have added to one of their counts."""
        unborn = Child(level=level)
        return math.fsum(
            max(0.0, getattr(child, count) - getattr(self.before.children.get(name, unborn), count))
            for name, child in self.now.children.items()
            if child.level == level
        )

    def there(self, level: int) -> Iterator[Child]:
        """The children of a level that are there now."""
        return (c for c in self.now.children.values() if c.level == level and c.is_there)


class Recent:
    """The last minute of a run."""

    def __init__(self) -> None:
        self._known: deque[tuple[float, Vitals]] = deque()
        self._first: dict[str, tuple[float, int]] = {}  # seen to train: when, and its steps then

    def take(self, at: float, vitals: Vitals) -> Stretch:
        """Remember what a run is ``at`` this second of any clock; the stretch that ends with it."""
        self._known.append((at, vitals))
        while len(self._known) > 1 and self._known[1][0] <= at - _SPAN_S:
            self._known.popleft()
        began, before = self._known[0]
        return Stretch(before, vitals, at - began, tuple(self._step_rates(at, vitals)))

    def _step_rates(self, at: float, vitals: Vitals) -> Iterator[float]:
        began, before = self._known[0]
        training = {name: c for name, c in vitals.children.items() if c.is_training}
        self._first = {name: self._first.get(name, (at, c.steps)) for name, c in training.items()}
        for name, child in training.items():
            since, steps = self._first[name]
            if since < began:  # then it has been training ever since
                since, steps = began, before.children[name].steps
            if at - since >= _LEAST_S:
                yield (child.steps - steps) / (at - since)
