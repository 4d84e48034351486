"""What is asked of an actor, and what its answers and failures mean."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayError, RayTaskError

from ray_easgd.errors import EasgdError, HubLost, WorkerFailed

if TYPE_CHECKING:
    from actors.posts import Hub

SILENCE_S = 30.0
"""Longer than an honest process keeps its threads from answering."""

_ASK_EVERY_S = 1.0

_LOOK_EVERY_S = 0.5

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


class Pulse:
    """Whether an actor answers: one question at a time, and now and then another.

    Ray sees who is dead; who is stopped only keeps silent. That counts while somebody listens: of
    one who was stopped as well, or had other things to do, nobody else is to suffer.
    """

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask, self._asked = ask, None
        self._looked, self._again, self._silent_s = time.monotonic(), 0.0, 0.0

    def silent_s(self) -> float:
        """For how long the question that is open has been; call this again and again."""
        now = time.monotonic()
        self._silent_s += min(now - self._looked, _ASK_EVERY_S)
        self._looked = now
        if self._asked is not None and ray.wait([self._asked], timeout=0)[0]:
            self._asked = None
        if self._asked is None:
            self._silent_s = 0.0
            if now >= self._again:
                self._asked, self._again = self._ask(), now + _ASK_EVERY_S
        return self._silent_s


class Source:
    """A hub, as where its snapshots are fetched from.

    Ray never tells who waits for an object that its owner, a process on a node that has gone, is
    dead; who asks that process for its end is told.
    """

    def __init__(self, hub: Any) -> None:
        self.hub, self._ending = hub, None

    def fetched(self, reference: Any) -> Any:
        """An object's value; RayError once it cannot come any more.

        Where it has to come from afar, ``wait`` does the waiting: a ``get`` that waits keeps the
        other thread from its ``put``.
        """
        try:
            return ray.get(reference, timeout=0)
        except GetTimeoutError:
            pass
        self._ending = self._ending or self.hub.watch.remote()
        # In turn: of a value and an object in one list Ray stops looking at the value.
        while not ray.wait([reference], timeout=_LOOK_EVERY_S, fetch_local=True)[0]:
            if ray.wait([self._ending], timeout=0)[0]:
                try:
                    ray.get(self._ending)
                except ActorUnavailableError:  # and perhaps dead: Ray will tell
                    self._ending = self.hub.watch.remote()
        return ray.get(reference)


def answer_of(reference: Any) -> Any:
    """What a center or the controller answered; HubLost when one of them died."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, RayError):
            raise HubLost("the center", type(error.cause).__name__) from error
        raise explain("the center or the controller", error) from error
    except RayError as error:
        reason = str(error).splitlines()[0]
        raise HubLost("the center or the controller", reason) from error


def explain(name: str, error: RayTaskError) -> EasgdError:
    """Our own errors cross as themselves; the user's come with their traceback."""
    cause = error.cause
    return cause if isinstance(cause, EasgdError) else WorkerFailed(name, str(error))


def in_short(error: Exception) -> str:
    """What went wrong, in a line; of a traceback its last."""
    lines = str(getattr(error, "cause", None) or error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


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
