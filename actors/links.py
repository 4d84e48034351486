"""A child's edge through Ray's object store: snapshots come in, differences go out, both in the
background and at the same time, so that a link carries both directions at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import ray
import torch
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError
from torch import Tensor

from ray_easgd.errors import HubLost
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import PushHeader, PushReply

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.center import Center

T = TypeVar("T")


class ObjectStoreLink:
    """One worker's edge to its hub. Two threads wait for Ray; the training thread never does."""

    def __init__(self, hub: ActorProxy[Center], child: str) -> None:
        self._hub, self._child = hub, child
        self._incarnation = 0
        self._pulls = ThreadPoolExecutor(1, thread_name_prefix="pull")
        self._pushes = ThreadPoolExecutor(1, thread_name_prefix="push")
        self._pulling: Future[Snapshot] | None = None
        self._pushing: deque[Future[PushReply]] = deque()

    def join(self, vector: Tensor, layout: Sequence[Slot]) -> tuple[int, Snapshot]:
        future = self._pulls.submit(self._join, vector.numpy(), tuple(layout))
        wait([future])
        self._incarnation, snapshot = _result(future)
        return self._incarnation, snapshot

    def pull(self, showing: int | None = None) -> None:
        if self._pulling is None:
            self._pulling = self._pulls.submit(self._fetch, showing)

    def pulled(self) -> Snapshot | None:
        if self._pulling is None or not self._pulling.done():
            return None
        future, self._pulling = self._pulling, None
        return _result(future)

    def push(self, header: PushHeader, d: Tensor) -> None:
        self._pushing.append(self._pushes.submit(self._send, header, d))

    def replies(self) -> list[PushReply]:
        answers = []
        while self._pushing and self._pushing[0].done():
            answers.append(_result(self._pushing.popleft()))
        return answers

    @property
    def busy(self) -> bool:
        return bool(self._pushing)

    def drain(self, *, pulls: bool = True) -> None:
        under_way: list[Future[Any]] = [*self._pushing]
        wait(under_way + ([self._pulling] if pulls and self._pulling else []))

    def leave(self) -> None:
        """Also ends the two threads."""
        self._hub.leave.remote(self._incarnation)
        self.close()

    def close(self) -> None:
        """End the two threads without a goodbye."""
        self._pulls.shutdown(wait=False, cancel_futures=True)
        self._pushes.shutdown(wait=False, cancel_futures=True)

    def _join(self, vector: np.ndarray, layout: tuple[Slot, ...]) -> tuple[int, Snapshot]:
        """A join whose answer was lost is made again: the life nobody heard of takes no step."""
        incarnation, header, (ref,) = _insist(
            lambda: self._hub.join.remote(self._child, vector, layout)
        )
        return incarnation, Snapshot(header, torch.from_numpy(ray.get(ref)))

    def _fetch(self, showing: int | None) -> Snapshot:
        hub, incarnation = self._hub, self._incarnation
        if showing is None:
            header, (ref,) = _insist(hub.pull.remote)
        else:
            header, (ref,) = _insist(lambda: hub.pull_shown.remote(incarnation, showing))
        return Snapshot(header, torch.from_numpy(ray.get(ref)))

    def _send(self, header: PushHeader, d: Tensor) -> PushReply:
        """Sent until answered: the hub knows by its number whether it had applied it."""
        array = ray.put(d.numpy())
        reply: PushReply = _insist(lambda: self._hub.push.remote(header, array))
        return reply


def _insist(ask: Callable[[], Any]) -> Any:
    """Ask until answered. An unavailable actor may have heard; Ray tells us when it is dead."""
    while True:
        try:
            return ray.get(ask())
        except ActorUnavailableError:
            continue  # Ray waited for the connection before it said so


def _result(future: Future[T]) -> T:
    """What the background brought; the center's loss as HubLost.

    ``OwnerDiedError``, for one: the center died between its answer and our reading the vector.
    """
    try:
        return future.result()
    except RayTaskError:
        raise  # an error of the hub's own, which tells its reason
    except RayError as error:
        raise HubLost("the center", type(error).__name__) from error
