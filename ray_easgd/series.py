"""The time series that a run shows to Prometheus: one table, each with its meaning and formula.

All are gauges, also those that count. Ray's endpoint goes on with a counter for as long as the node
lives, and an alert on one that stands still would ring after the end of every run; a gauge that is
not renewed leaves within 20 seconds. A center that goes on from an older copy counts back, too,
which a counter never may: what is asked for as a rate is a series of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Literal

from ray_easgd.vitals import STATES, Child, Stretch, Vitals

Tag = Literal["level", "state"]

EXPORTED_AS = "ray_easgd_"
"""What each name begins with at the endpoint; Ray itself adds ``ray_``."""

_HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One name. Beside ``run`` it has the ``tag``, if any; ``of`` gives a value for each of its.

    Without a tag that is the empty one. A value that is not finite is not shown.
    """

    name: str
    unit: str
    meaning: str
    of: Callable[[Stretch], Iterable[tuple[str, float]]]
    tag: Tag | None = None

    @property
    def exported(self) -> str:
        """Its name in a query."""
        return EXPORTED_AS + self.name


@dataclass(frozen=True, slots=True)
class Point:
    """A value of one series now."""

    series: Series
    tag: str
    value: float


def points(stretch: Stretch) -> Iterator[Point]:
    """Every value there is to show."""
    for series in SERIES:
        for tag, value in series.of(stretch):
            if math.isfinite(value):
                yield Point(series, tag, float(value))


def _now(of: Callable[[Vitals], float]) -> Callable[[Stretch], Iterable[tuple[str, float]]]:
    """A number of the moment."""
    return lambda stretch: [("", of(stretch.now))]


def _once(of: Callable[[Stretch], float]) -> Callable[[Stretch], Iterable[tuple[str, float]]]:
    """A number of the stretch."""
    return lambda stretch: [("", of(stretch))]


def _by_level(
    of: Callable[[Stretch, int], float],
) -> Callable[[Stretch], Iterable[tuple[str, float]]]:
    return lambda stretch: [(str(k), of(stretch, k)) for k in stretch.now.levels]


def _rate_by_level(count: str) -> Callable[[Stretch], Iterable[tuple[str, float]]]:
    """By how much a count of the children grows in a second."""
    return _by_level(lambda stretch, k: stretch.per_s(0.0, stretch.gained(count, k)))


def _mean_by_level(
    of: Callable[[Child], float],
) -> Callable[[Stretch], Iterable[tuple[str, float]]]:
    """The mean over those that are there and have that number."""

    def mean(stretch: Stretch, level: int) -> float:
        known = [value for c in stretch.there(level) if math.isfinite(value := of(c))]
        return sum(known) / len(known) if known else math.nan

    return _by_level(mean)


def _exchange_s(stretch: Stretch, level: int) -> float:
    exchanges = stretch.gained("exchanges", level)
    return stretch.gained("exchange_s", level) / exchanges if exchanges else math.nan


def _goodput(vitals: Vitals) -> float:
    """At most 1: the hub's word may be newer than the workers'."""
    paid = vitals.paid_steps
    return min(1.0, vitals.useful_steps / paid) if paid else math.nan


SERIES: tuple[Series, ...] = (
    Series(
        name="center_version",
        unit="pushes",
        meaning="Pushes that the center has applied",
        of=_now(lambda v: v.version),
    ),
    Series(
        name="center_epoch",
        unit="lives",
        meaning="Lives of the center's state: it grows when the center goes on from an older copy",
        of=_now(lambda v: v.epoch),
    ),
    Series(
        name="center_pushes_per_s",
        unit="pushes/s",
        meaning="How fast the center moves: pushes applied a second",
        of=_once(lambda s: s.per_s(s.before.version, s.now.version)),
    ),
    Series(
        name="samples",
        unit="samples",
        meaning="Samples that the center has been trained on, repeated ones included",
        of=_now(lambda v: v.samples),
    ),
    Series(
        name="samples_repeated",
        unit="samples",
        meaning="Samples that it has been trained on more than once within an epoch",
        of=_now(lambda v: v.samples_repeated),
    ),
    Series(
        name="samples_per_s",
        unit="samples/s",
        meaning="Samples that arrive at the center a second",
        of=_once(lambda s: s.per_s(s.before.samples, s.now.samples)),
    ),
    Series(
        name="loss",
        unit="",
        meaning="Training loss, the mean over the workers, of each since its exchange before",
        of=_now(lambda v: v.loss),
    ),
    Series(
        name="val_accuracy",
        unit="share",
        meaning="Accuracy of the center on held-out data, when it was tested last",
        of=_now(lambda v: v.val_accuracy),
    ),
    Series(
        name="exchanges_per_s",
        unit="exchanges/s",
        tag="level",
        meaning="Exchanges of the children of a level with their hubs a second",
        of=_rate_by_level("exchanges"),
    ),
    Series(
        name="exchange_s",
        unit="s",
        tag="level",
        meaning="How long an exchange is under way: pull and push, in the background; or the pass "
        "in the hub's memory",
        of=_by_level(_exchange_s),
    ),
    Series(
        name="sent_bytes_per_s",
        unit="bytes/s",
        tag="level",
        meaning="Bytes that the children of a level send to their hubs a second",
        of=_rate_by_level("bytes_sent"),
    ),
    Series(
        name="received_bytes_per_s",
        unit="bytes/s",
        tag="level",
        meaning="Bytes that the children of a level get from their hubs a second",
        of=_rate_by_level("bytes_received"),
    ),
    Series(
        name="staleness",
        unit="pushes",
        tag="level",
        meaning="Pushes of others between a child's pull and its push, the mean of the latest ones",
        of=_mean_by_level(lambda child: child.staleness),
    ),
    Series(
        name="distance",
        unit="",
        tag="level",
        meaning="Euclidean distance of a child from its hub, the mean of the latest exchanges",
        of=_mean_by_level(lambda child: child.distance),
    ),
    Series(
        name="workers",
        unit="workers",
        tag="state",
        meaning="Workers that are " + ", ".join(STATES),
        of=lambda s: [(state, s.now.states.get(state, 0)) for state in STATES],
    ),
    Series(
        name="workers_wanted",
        unit="workers",
        meaning="Workers that the run asks for",
        of=_now(lambda v: v.wanted),
    ),
    Series(
        name="slowest_steps_per_s",
        unit="steps/s",
        meaning="Gradient steps a second of the slowest worker that trains",
        of=_once(lambda s: min(s.step_rates, default=math.nan)),
    ),
    Series(
        name="median_steps_per_s",
        unit="steps/s",
        meaning="Gradient steps a second of the median of the workers that train",
        of=_once(lambda s: median(s.step_rates or (math.nan,))),
    ),
    Series(
        name="workers_lost",
        unit="lives",
        meaning="Workers' processes that were lost, not asked to leave, in this sitting",
        of=_now(lambda v: v.lost),
    ),
    Series(
        name="crashes_in_a_row",
        unit="lives",
        meaning="Workers' processes in a row that ended early by the same error",
        of=_now(lambda v: v.crashes_in_a_row),
    ),
    Series(
        name="restarts",
        unit="restarts",
        meaning="Times that a worker met non-finite numbers and began again at the center",
        of=_now(lambda v: v.restarts),
    ),
    Series(
        name="leases_held",
        unit="leases",
        meaning="Ranges of the data that workers have and the center has not all of",
        of=_now(lambda v: v.leases_held),
    ),
    Series(
        name="leases_returned",
        unit="leases",
        meaning="Ranges of lost or leaving workers that wait to be handed out again",
        of=_now(lambda v: v.leases_returned),
    ),
    Series(
        name="steps_paid",
        unit="steps",
        meaning="Gradient steps that workers have taken in this sitting, the lost ones too",
        of=_now(lambda v: v.paid_steps),
    ),
    Series(
        name="steps_useful",
        unit="steps",
        meaning="Of those, what the center has, on data it had not before",
        of=_now(lambda v: v.useful_steps),
    ),
    Series(
        name="goodput",
        unit="share",
        meaning="Useful steps over steps paid, of this sitting",
        of=_now(_goodput),
    ),
    Series(
        name="worker_hours",
        unit="hours",
        meaning="Hours of all workers together in this sitting, without those that wait for room",
        of=_now(lambda v: v.worker_s / _HOUR_S),
    ),
    Series(
        name="cost",
        unit="as fleet.price_per_hour",
        meaning="Worker hours times fleet.price_per_hour; absent where that is not set",
        of=_now(lambda v: v.worker_s / _HOUR_S * v.price_per_hour),
    ),
)
