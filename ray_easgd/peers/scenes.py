"""The scenes: what happens to the contenders while they train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ray_easgd.peers.trial import Growth, Plan, Strike
from ray_easgd.peers.workload import Workload

SCENES = {
    "a": "one machine, no fault",
    "b": "a link between two network namespaces (--link), 13 million parameters",
    "c": "one of two workers three times slower",
    "d": "a worker is killed in mid-run, and comes back",
    "e": "the coordinator is killed",
    "f": "a fleet that grows from 2 to 4",
    "g": "losses by a Poisson schedule",
}
_LARGE = "ray_easgd.peers.large_mlp:large_mlp"
_SLOWER = 3.0
_GROWS_TO = 4
_EPOCHS, _EPOCH = 4, 54_000
_SECONDS = {"b": 60.0, "c": 30.0, "d": 60.0, "e": 60.0, "f": 120.0, "g": 600.0}
_BETWEEN_LOSSES_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The work and the plan of every contender in it."""

    name: str
    workload: Workload
    plan: Plan


def scene_of(name: str, workload: Workload, *, seconds: float | None) -> Scene:
    """That scene, on this workload; ``seconds`` instead of its own window."""
    if name == "a":
        samples = workload.samples or _EPOCHS * _EPOCH
        plan = Plan(seconds=seconds)
        return Scene(name=name, workload=replace(workload, samples=samples), plan=plan)
    if name == "b":
        workload = replace(workload, model=_LARGE, snapshot_s=10.0)
    window = seconds or _SECONDS[name]
    strikes: dict[str, Sequence[Strike]] = {
        "d": [Strike(at_s=window / 4)],
        "e": [Strike(at_s=window / 4, whom="coordinator")],
        "g": losses(window, workload.num_workers),
    }
    plan = Plan(
        seconds=window,
        strikes=strikes.get(name, ()),
        growth=Growth(at_s=window / 4, to=_GROWS_TO) if name == "f" else None,
        limit_s=window + 180.0,
    )
    return Scene(name=name, workload=replace(workload, samples=None), plan=plan)


def losses(window_s: float, num_workers: int) -> list[Strike]:
    """Of any worker, by a Poisson process of one a minute; the same for everybody."""
    chance, at_s, found = np.random.default_rng(0), 0.0, []
    while (at_s := at_s + float(chance.exponential(_BETWEEN_LOSSES_S))) < window_s:
        found.append(Strike(at_s=at_s, rank=int(chance.integers(num_workers))))
    return found


def paced(scene: str, workload: Workload, samples_per_s: float) -> Workload:
    """As the scene wants it, where one worker alone takes so many samples a second.

    In c the last worker takes three times as long for a step. In f each does: so 4 of them fit
    where 2 are.
    """
    pause_s = (_SLOWER - 1.0) * workload.batch_size / samples_per_s
    if scene == "c":
        return replace(workload, pauses_s=(0.0, pause_s))
    return replace(workload, pauses_s=(pause_s,)) if scene == "f" else workload


PACED = "cf"
"""The scenes that need to know the pair's pace."""
