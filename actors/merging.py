"""One configuration, also out of the objects that Ray Train's users know."""

from __future__ import annotations

from typing import Any

from ray_easgd.config import Config
from ray_easgd.errors import BadConfig


def merged(config: Any, scaling: Any, run: Any) -> Config:
    """One configuration out of ours and the two that Ray Train's users know."""
    values = config.model_dump() if isinstance(config, Config) else dict(config or {})
    if scaling is not None:
        values["fleet"] = {**values.get("fleet", {}), **_fleet(scaling)}
    if run is not None:
        storage = getattr(run, "storage_path", None)
        given = {"name": getattr(run, "name", None), "storage": storage}
        kept = {k: v for k, v in given.items() if v is not None}
        values["run"] = {**values.get("run", {}), **kept}
    return Config.build(values)


def _fleet(scaling: Any) -> dict[str, Any]:
    """Our ``fleet`` keys from a ScalingConfig, ours or Ray Train's."""
    workers = scaling.num_workers
    each = dict(scaling.resources_per_worker or {})
    fleet: dict[str, Any] = {
        "workers": f"{workers[0]}..{workers[1]}" if isinstance(workers, tuple) else workers,
    }
    if scaling.use_gpu is not None:
        fleet["gpus_per_worker"] = 1.0 if scaling.use_gpu else 0.0
    for ours, theirs in (("gpus_per_worker", "GPU"), ("cpus_per_worker", "CPU")):
        if theirs in each:
            fleet[ours] = each.pop(theirs)
    for name, amount in each.items():
        raise BadConfig(
            f"scaling_config.resources_per_worker.{name}",
            amount,
            "only CPU and GPU are known",
            "Leave it away.",
        )
    return fleet
