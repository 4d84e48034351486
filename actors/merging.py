"""One configuration, also out of the objects that Ray Train's users know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from ray_easgd.config import Config
from ray_easgd.errors import BadConfig

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """How many workers, and what each is given; names as in Ray Train.

    ``use_gpu`` None: one each where the cluster has GPUs.
    """

    num_workers: int | tuple[int, int] = 2
    use_gpu: bool | None = None
    resources_per_worker: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where the run leaves its folder; names as in Ray Train."""

    name: str | None = None
    storage_path: str | None = None


def merged(config: Any, scaling: Any, run: Any) -> Config:
    """One configuration out of ours and the two that Ray Train's users know, or mappings."""
    values = _own(config).model_dump()
    if scaling is not None:
        fleet = _fleet(_like("scaling_config", scaling, ScalingConfig))
        if isinstance(scaling, Mapping) and "num_workers" not in scaling:
            del fleet["workers"]  # a mapping says what it says
        values["fleet"] |= fleet
    if run is not None:
        like = _like("run_config", run, RunConfig)
        given = {"name": like.name, "storage": like.storage_path}
        values["run"] |= {k: v for k, v in given.items() if v is not None}
    return Config.build(values)


def refuse_unless(field: str, value: object, *, right: bool, remedy: str) -> None:
    """BadConfig for an argument of a type that it cannot have."""
    if not right:
        raise BadConfig(field, value, f"it cannot be of type {type(value).__name__}", remedy)


def _own(config: Any) -> Config:
    if isinstance(config, Config):
        return config
    remedy = "Give a mapping of keys, or a Config; Config.load('CONFIG.yaml') reads a file."
    refuse_unless("config", config, right=isinstance(config or {}, Mapping), remedy=remedy)
    return Config.build(config or {})


def _like(field: str, given: Any, kind: type[_T]) -> _T:
    """A ``kind`` out of one, out of Ray Train's class of that name, or out of a mapping."""
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    if isinstance(given, Mapping):
        for key in given:
            if key not in known:
                remedy = f"Known: {', '.join(known)}."
                raise BadConfig(f"{field}.{key}", given[key], "there is no such key", remedy)
        return kind(**given)
    found = {name: getattr(given, name) for name in known if hasattr(given, name)}
    remedy = f"Give a {kind.__name__}, or a mapping of {', '.join(known)}."
    refuse_unless(field, given, right=bool(found), remedy=remedy)
    return kind(**found)


def _fleet(scaling: ScalingConfig) -> dict[str, Any]:
    """Our ``fleet`` keys."""
    workers, each = scaling.num_workers, scaling.resources_per_worker or {}
    fleet: dict[str, Any] = {"workers": workers}
    if isinstance(workers, tuple | list):
        fleet["workers"] = "..".join(map(str, workers))
    if scaling.use_gpu is not None:
        fleet["gpus_per_worker"] = 1.0 if scaling.use_gpu else 0.0
    field, remedy = "scaling_config.resources_per_worker", "Give a mapping, as {'CPU': 1}."
    refuse_unless(field, each, right=isinstance(each, Mapping), remedy=remedy)
    ours = {"GPU": "gpus_per_worker", "CPU": "cpus_per_worker"}
    for name, amount in each.items():
        if name not in ours:
            problem = "only CPU and GPU are known"
            raise BadConfig(f"{field}.{name}", amount, problem, "Leave it away.")
        fleet[ours[name]] = amount
    return fleet
