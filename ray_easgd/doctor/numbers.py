"""Rules about what is learned: numbers that are not finite, or that run away."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ray_easgd.doctor.evidence import Evidence, WorkerLook
from ray_easgd.doctor.finding import Finding, median_of_others

_GROWS = 3.0  # between two looks
_FAR = 10.0  # times the others' median distance
_SETTLED = 50  # exchanges after which a distance has found its size
_REMEDY = (
    "Lower optimizer.lr or clip the gradients (optimizer.clip_norm); `ray-easgd plan` says which "
    "lr and moving rate are stable. If it is this worker alone, look at its data and its machine."
)


def diverging(evidence: Evidence) -> Iterator[Finding]:
    """A worker that meets non-finite numbers, or runs away from its center."""
    distances = {w.name: w.distance for w in evidence.second.workers if w.distance >= 0}
    for now in evidence.second.workers:
        was, _ = evidence.worker(now.name)
        if was is None or was.life != now.life:
            continue
        words = _not_finite(was, now) or _runs_away(was, now, distances)
        if words:
            yield Finding(
                cause="diverging",
                subject=now.name,
                evidence=f"{now.name} {words} in {evidence.interval_s:.1f} s.",
                remedy=_REMEDY,
            )


RULES = (diverging,)


def _not_finite(was: WorkerLook, now: WorkerLook) -> str:
    if now.restarts > was.restarts:
        times = now.restarts - was.restarts
        return (
            f"met numbers that are not finite and began again from the center {times} times "
            f"({now.restarts} times in all)"
        )
    for name in ("loss", "distance"):
        value = getattr(now, name)
        if math.isinf(value) or (math.isnan(value) and not math.isnan(getattr(was, name))):
            return f"reported a {name} of {value}"
    return ""


def _runs_away(was: WorkerLook, now: WorkerLook, distances: dict[str, float]) -> str:
    """Its distance to the center and its loss grow together, or it is far from where others are."""
    if was.exchanges < _SETTLED or not was.distance > 0:
        return ""
    words = f"saw its distance to its hub go from {was.distance:.3g} to {now.distance:.3g}"
    growth = now.distance / was.distance
    worse = math.isnan(now.loss) or now.loss > was.loss
    if growth > _GROWS and worse:
        loss = (
            "" if math.isnan(now.loss) else f" and its loss from {was.loss:.3g} to {now.loss:.3g}"
        )
        return words + loss
    usual = median_of_others(distances, now.name)
    if len(distances) > 2 and usual and now.distance > _FAR * usual and growth > 1 and worse:
        return f"{words}, where the others' is {usual:.3g} (median),"
    return ""
