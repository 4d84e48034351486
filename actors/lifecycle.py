"""Starting and ending actors. Imports no torch: the controller has no use for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

if TYPE_CHECKING:
    from ray.actor import ActorClass

T = TypeVar("T")


def as_actor(kind: type[T], **options: Any) -> ActorClass[T]:
    """A plain class as an actor class, its options standing where it is started."""
    actor: Any = ray.remote(**options)(kind)
    return actor


def beside_the_driver() -> Any:
    """Where what the run cannot lose belongs: the one node whose end is the run's in any case.

    Preemptible machines hold workers and aggregators.
    """
    return on(ray.get_runtime_context().get_node_id())


def on(node: str) -> Any:
    """For an actor on that node. Hard: of those that need no CPU Ray places soft ones at random."""
    return NodeAffinitySchedulingStrategy(node, soft=False)


def end_process(actor: Any) -> None:
    """End an actor's process, whatever it is doing; no harm if it is gone."""
    ray.kill(actor)
