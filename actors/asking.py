"""What a background thread asks of an actor, and what its answers and failures mean."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayError, RayTaskError

from ray_easgd.errors import HubLost

if TYPE_CHECKING:
    from actors.posts import Hub

T = TypeVar("T")

Find = Callable[[], "Hub"]


def find_in(controller: Any, name: str, life: int) -> Find:
    """How a child of hub ``name`` finds its successor, and the next."""
    known = life

    def find() -> Hub:
        nonlocal known
        hub: Hub = ray.get(controller.successor.remote(name, known))
        known = hub.life
        return hub

    return find


def insist(ask: Callable[[], Any]) -> Any:
    """Ask until answered. An unavailable actor may have heard; Ray tells us when it is dead."""
    while True:
        try:
            return ray.get(ask())
        except ActorUnavailableError:
            continue  # Ray waited for the connection before it said so


def fetched(reference: Any) -> Any:
    """An object's value. Where it has to come from afar, ``wait`` does the waiting: a ``get`` that
    waits keeps the other thread from its ``put``."""
    try:
        return ray.get(reference, timeout=0)
    except GetTimeoutError:
        ray.wait([reference], fetch_local=True)
        return ray.get(reference)


def result_of(future: Future[T]) -> T:
    """What the background brought; the center's loss as HubLost.

    ``OwnerDiedError``, for one: the center died between its answer and our reading the vector.
    """
    try:
        return future.result()
    except RayTaskError:
        raise  # an error of the hub's own, which tells its reason
    except RayError as error:
        raise HubLost("the center", type(error).__name__) from error
