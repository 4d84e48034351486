"""A period that follows a target: of the distance to the center, or of the time exchanges take.

Each worker adapts its own, by what it measures itself; nobody is asked and nobody waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ray_easgd.ports import Reporter

_EXCHANGES = 16  # between two decisions
_DEAD_BAND = 1.25  # a factor so near to 1 changes nothing
_MOST_AT_ONCE = 2.0
_MOST = 4096


@dataclass
class PeriodGovernor:
    """Decides a worker's ``period``, in steps.

    ``distance`` is the target of ``|x - c|`` at exchanges, mean; ``share`` that of the time spent
    in step boundaries. Of the two only one is given.
    """

    period: int
    distance: float | None = None
    share: float | None = None
    clock_s: Callable[[], float] = time.perf_counter
    _distances: list[float] = field(default_factory=list)
    _spent_s: float = 0.0
    _since_s: float = 0.0

    def __post_init__(self) -> None:
        self._since_s = self.clock_s()

    def met(self, distance: float) -> None:
        """An exchange, at such a distance."""
        self._distances.append(distance)

    def spent(self, seconds: float) -> None:
        """A step boundary took so long."""
        self._spent_s += seconds

    def decide(self) -> str:
        """After enough exchanges: change the period where that is due, and say why; else empty."""
        if len(self._distances) < _EXCHANGES:
            return ""
        mean = sum(self._distances) / len(self._distances)
        now = self.clock_s()
        share = self._spent_s / max(now - self._since_s, 1e-9)
        self._distances, self._spent_s, self._since_s = [], 0.0, now
        if self.distance is not None:
            factor, found = self.distance / max(mean, 1e-30), f"the mean distance was {mean:.3g}"
            target = f"{self.distance:.3g}"
        else:
            assert self.share is not None
            factor, found = share / self.share, f"exchanges took {share:.1%} of the time"
            target = f"{self.share:.1%}"
        if 1.0 / _DEAD_BAND < factor < _DEAD_BAND:
            return ""
        before = self.period
        step = min(_MOST_AT_ONCE, max(1.0 / _MOST_AT_ONCE, factor))
        self.period = min(_MOST, max(1, round(before * step)))
        if self.period == before:
            return ""
        return f"period {self.period} instead of {before}: {found}, the target is {target}"


@dataclass(frozen=True)
class Overheard:
    """A reporter that lets the governor know of each exchange's distance."""

    reporter: Reporter
    governor: PeriodGovernor

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        if "distance" in values:
            self.governor.met(values["distance"])
        self.reporter.metrics(values, step=step)

    def event(self, kind: str, message: str, **details: object) -> None:
        self.reporter.event(kind, message, **details)

    def report(self, values: Mapping[str, float], *, step: int) -> None:
        self.reporter.report(values, step=step)

    def stepped(self) -> None:
        self.reporter.stepped()
