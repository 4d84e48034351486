"""A child's edge through Ray's object store: snapshots come in, differences go out, both in the
background and at the same time, so that a link carries both directions at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

import ray
import torch
from ray.exceptions import ActorUnavailableError, RayActorError
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
        self._pulling: Future[None] | None = None
        self._pushing: Future[None] | None = None
        self._arrived: SimpleQueue[Snapshot] = SimpleQueue()
        self._answers: SimpleQueue[PushReply] = SimpleQueue()

    def join(self, vector: Tensor, layout: Sequence[Slot]) -> tuple[int, Snapshot]:
        try:
            answer = ray.get(self._hub.join.remote(self._child, vector.numpy(), tuple(layout)))
            self._incarnation, header, (ref,) = answer
            return self._incarnation, Snapshot(header, torch.from_numpy(ray.get(ref)))
        except RayActorError as error:
            raise HubLost("the center", type(error).__name__) from error

    def pull(self) -> None:
        if self._pulling is None or self._pulling.done():
            _raise(self._pulling)
            self._pulling = self._pulls.submit(self._fetch)

    def pulled(self) -> Snapshot | None:
        _raise(self._pulling)
        return _newest(self._arrived)

    def push(self, header: PushHeader, d: Tensor) -> None:
        _raise(self._pushing)
        self._pushing = self._pushes.submit(self._send, header, d)

    def replies(self) -> list[PushReply]:
        _raise(self._pushing)
        return _all(self._answers)

    @property
    def busy(self) -> bool:
        return self._pushing is not None and not self._pushing.done()

    def drain(self) -> None:
        wait([f for f in (self._pulling, self._pushing) if f is not None])
        _raise(self._pulling)
        _raise(self._pushing)

    def leave(self) -> None:
        """Also ends the two threads."""
        self._hub.leave.remote(self._incarnation)
        self.close()

    def close(self) -> None:
        """End the two threads without a goodbye."""
        self._pulls.shutdown(wait=False, cancel_futures=True)
        self._pushes.shutdown(wait=False, cancel_futures=True)

    def _fetch(self) -> None:
        header, (ref,) = ray.get(self._hub.pull.remote())
        self._arrived.put(Snapshot(header, torch.from_numpy(ray.get(ref))))

    def _send(self, header: PushHeader, d: Tensor) -> None:
        """Send until answered: an unavailable hub may or may not have applied it, and knows."""
        array = ray.put(d.numpy())
        while True:
            try:
                self._answers.put(ray.get(self._hub.push.remote(header, array)))
                return
            except ActorUnavailableError:
                continue  # Ray itself waits for the connection, and tells us when it is dead


def _raise(future: Future[None] | None) -> None:
    """Bring a background failure to the training thread, as HubLost where it is that."""
    if future is None or not future.done():
        return
    error = future.exception()
    if isinstance(error, RayActorError):
        raise HubLost("the center", type(error).__name__) from error
    if error is not None:
        raise error


def _all(queue: SimpleQueue[T]) -> list[T]:
    items: list[T] = []
    while True:
        try:
            items.append(queue.get_nowait())
        except Empty:
            return items


def _newest(queue: SimpleQueue[T]) -> T | None:
    items = _all(queue)
    return items[-1] if items else None
