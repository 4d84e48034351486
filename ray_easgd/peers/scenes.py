"""The scenes: what happens to the contenders while they train."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ray_easgd.errors import BadInput
from ray_easgd.peers.trial import Plan, Struck
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
_BUILT = "abcde"
_LARGE = "ray_easgd.peers.large_mlp:large_mlp"
_SLOWER = 3.0
_EPOCHS, _EPOCH = 4, 54_000
_SECONDS = {"b": 60.0, "c": 30.0, "d": 60.0, "e": 60.0}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The work and the plan of every contender in it."""

    name: str
    workload: Workload
    plan: Plan


def scene_of(name: str, workload: Workload, *, seconds: float | None) -> Scene:
    """BadInput for one that is not built."""
    if name not in _BUILT:
        raise BadInput(
            "--scene",
            name,
            f"the scene '{SCENES[name]}' is not built yet",
            f"Take one of {', '.join(_BUILT)}.",
        )
    if name == "a":
        samples = workload.samples or _EPOCHS * _EPOCH
        plan = Plan(seconds=seconds)
        return Scene(name=name, workload=replace(workload, samples=samples), plan=plan)
    if name == "b":
        workload = replace(workload, model=_LARGE, snapshot_s=10.0)
    strikes: dict[str, Struck] = {"d": "worker", "e": "coordinator"}
    window = seconds or _SECONDS[name]
    plan = Plan(
        seconds=window,
        strike=strikes.get(name),
        strike_s=window / 4,
        limit_s=window + 180.0,
    )
    return Scene(name=name, workload=replace(workload, samples=None), plan=plan)


def slowed(workload: Workload, samples_per_s: float) -> Workload:
    """Its last worker takes three times as long for a step as one of that rate does."""
    step_s = workload.batch_size / samples_per_s
    return replace(workload, pauses_s=(0.0, (_SLOWER - 1.0) * step_s))
