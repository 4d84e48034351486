"""Elastic Averaging SGD on Ray: one PyTorch model, trained by workers that come and go.

Importing this costs nothing: every name below is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ray_easgd.version import __version__

if TYPE_CHECKING:
    from actors.merging import RunConfig, ScalingConfig
    from actors.trainer import ElasticTrainer
    from ray_easgd import session
    from ray_easgd.config import Config
    from ray_easgd.result import Result
    from ray_easgd.simulator.virtual_run import simulate
    from ray_easgd.task import Task

_CORE = {
    "Config": "config",
    "Result": "result",
    "Task": "task",
    "simulate": "simulator.virtual_run",
}
_ACTORS = {"ElasticTrainer": "trainer", "RunConfig": "merging", "ScalingConfig": "merging"}

__all__ = [
    "Config",
    "ElasticTrainer",
    "Result",
    "RunConfig",
    "ScalingConfig",
    "Task",
    "__version__",
    "session",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name in _ACTORS:
        from ray_easgd.seam import actors_module

        return getattr(actors_module(_ACTORS[name]), name)
    if name in _CORE:
        return getattr(import_module(f"ray_easgd.{_CORE[name]}"), name)
    if name == "session":
        return import_module("ray_easgd.session")
    raise AttributeError(f"module 'ray_easgd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
