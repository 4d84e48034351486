"""Starting and ending actors. Imports no torch: the controller has no use for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import ray

if TYPE_CHECKING:
    from ray.actor import ActorClass

T = TypeVar("T")


def as_actor(kind: type[T], **options: Any) -> ActorClass[T]:
    """A plain class as an actor class, its options standing where it is started."""
    actor: Any = ray.remote(**options)(kind)
    return actor


def end_process(actor: Any) -> None:
    """End an actor's process, whatever it is doing; no harm if it is gone."""
    ray.kill(actor)
