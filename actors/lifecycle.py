"""Starting and ending actors. Imports no torch: the controller has no use for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.exceptions import ActorAlreadyExistsError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_easgd.errors import BadStorage

if TYPE_CHECKING:
    from ray.actor import ActorClass

T = TypeVar("T")


class Named:
    """What every actor of ours is: found by its name, and told by its ``repr``.

    Ray evaluates that once, when the actor is there, for its dashboard and for the lines it logs.
    """

    def __repr__(self) -> str:
        return title(ray.get_runtime_context().get_actor_name() or type(self).__name__)


def actor_name(run: str, who: str, life: int = 1) -> str:
    """``r:worker-3.2``: ``life`` counts the processes that were worker-3."""
    return f"{run}:{who}" + (f".{life}" if life > 1 else "")


def title(name: str) -> str:
    """``worker-3 life 2 of run r``, from the actor's name."""
    run, _, who = name.rpartition(":")
    who, _, life = who.partition(".")
    return who + (f" life {life}" if life else "") + (f" of run {run}" if run else "")


def as_actor(kind: type[T], **options: Any) -> ActorClass[T]:
    """A plain class as an actor class, its options standing where it is started."""
    actor: Any = ray.remote(**options)(kind)
    return actor


@contextmanager
def one_of_a_name(run: str) -> Iterator[None]:
    """For who starts an actor of that run: BadStorage where Ray says that its name is taken."""
    try:
        yield
    except ActorAlreadyExistsError as error:
        raise BadStorage(
            "run.name",
            run,
            "a run of this name is going on on this cluster",
            "Choose another run.name, or end that run first.",
        ) from error


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
