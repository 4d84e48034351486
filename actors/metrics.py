"""A run's numbers as Ray's metrics: pushed by its driver, which has them all; workers pay nothing.

Ray hands them to the metrics endpoint of the driver's node, where Prometheus finds them.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ray.util.metrics import Gauge

from ray_easgd.series import SERIES, points
from ray_easgd.vitals import Child, Recent, Vitals

if TYPE_CHECKING:
    from actors.fleet import Fleet
    from actors.hub_status import HubStatus
    from actors.sight import Sight
    from actors.words import WorkerStatus
    from ray_easgd.config import Config
    from ray_easgd.resumption import Resumption

_EVERY_S = 0.9  # Ray forgets a gauge that was not renewed since its last report, a second or more
_PAID = ("starting", "training", "leaving")


class RunMetrics:
    """Pushes the metrics of one run. Names are those of ``ray_easgd.series``."""

    def __init__(self, run: str, config: Config, resumed: Resumption | None) -> None:
        self._run, self._price = run, config.fleet.price_per_hour
        self._steps_before = resumed.hubs[0].steps if resumed else 0
        self._gauges = {
            series.name: Gauge(f"easgd_{series.name}", series.meaning, _tag_keys(series.tag))
            for series in SERIES
        }
        self._recent = Recent()
        self._worker_s, self._pushed_at = 0.0, -math.inf

    def push(self, sight: Sight, fleet: Fleet) -> None:
        """What there is to tell, unless that was told a moment ago."""
        now = time.monotonic()
        if now - self._pushed_at < _EVERY_S:
            return
        states = Counter(fleet.states.values())
        if self._pushed_at > 0:
            self._worker_s += (now - self._pushed_at) * sum(states[state] for state in _PAID)
        self._pushed_at = now
        stretch = self._recent.take(now, self._vitals(sight, fleet, states))
        for point in points(stretch):
            series = point.series
            tags = {"run": self._run} | ({series.tag: point.tag} if series.tag else {})
            self._gauges[series.name].set(point.value, tags=tags)

    def _vitals(self, sight: Sight, fleet: Fleet, states: Mapping[str, int]) -> Vitals:
        hub, samples, repeated = sight.hub, sight.samples, sight.repeated
        steps = max(0, hub.steps - self._steps_before) if hub else 0
        loss = sight.mean_over_workers(lambda w: w.loss)
        return Vitals(
            version=hub.version.count if hub else 0,
            epoch=hub.version.epoch if hub else 0,
            samples=samples,
            samples_repeated=repeated,
            useful_steps=steps * (1 - repeated / samples if samples else 1.0),
            children=_children(sight, fleet.states),
            states=states,
            wanted=fleet.wanted,
            loss=math.nan if loss is None else loss,
            val_accuracy=math.nan if sight.val_accuracy is None else sight.val_accuracy,
            lost=fleet.num_lost,
            crashes_in_a_row=fleet.crashes_in_a_row,
            restarts=sum(life.restarts for life in sight.lives),
            leases_held=sight.book.held,
            leases_returned=sight.book.returned,
            worker_s=self._worker_s,
            price_per_hour=math.nan if self._price is None else self._price,
        )


def _tag_keys(tag: str | None) -> tuple[str, ...]:
    return ("run", tag) if tag else ("run",)


def _children(sight: Sight, states: Mapping[str, str]) -> dict[str, Child]:
    parents = {name: hub.parent for name, hub in sight.hubs.items()}
    latest = {(w.name, w.life) for w in sight.workers.values()}
    children = {name: _child(hub, _level(hub.parent, parents)) for name, hub in sight.hubs.items()}
    for life in sight.lives:
        state = states.get(life.name, "") if (life.name, life.life) in latest else ""
        children[f"{life.name}.{life.life}"] = _child(
            life,
            _level(life.hub, parents),
            steps=life.step,
            is_there=state in _PAID,
            is_training=state == "training",
        )
    return children


def _child(
    told: WorkerStatus | HubStatus,
    level: int,
    *,
    steps: int = 0,
    is_there: bool = True,
    is_training: bool = False,
) -> Child:
    return Child(
        level=level,
        steps=steps,
        is_training=is_training,
        is_there=is_there,
        exchanges=told.exchanges,
        exchange_s=told.exchange_s,
        bytes_sent=told.bytes_sent,
        bytes_received=told.bytes_received,
        staleness=told.staleness,
        distance=told.distance,
    )


def _level(hub: str, parents: Mapping[str, str]) -> int:
    """Of an edge to that hub: how many hubs are above it."""
    level = 0
    while hub in parents:
        hub, level = parents[hub], level + 1
    return level
