"""A child's edge through Ray's object store: snapshots come in, differences go out, both in the
background and at the same time, so that a link carries both directions at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

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
        self._pulling: Future[Snapshot] | None = None
        self._pushing: deque[Future[PushReply]] = deque()

    def join(self, vector: Tensor, layout: Sequence[Slot]) -> tuple[int, Snapshot]:
        try:
            answer = ray.get(self._hub.join.remote(self._child, vector.numpy(), tuple(layout)))
            self._incarnation, header, (ref,) = answer
            return self._incarnation, Snapshot(header, torch.from_numpy(ray.get(ref)))
        except RayActorError as error:
            raise HubLost("the center", type(error).__name__) from error

    def pull(self) -> None:
        if self._pulling is None:
            self._pulling = self._pulls.submit(self._fetch)

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

    def drain(self) -> None:
        under_way: list[Future[Any]] = [*self._pushing]
        wait(under_way + ([self._pulling] if self._pulling else []))

    def leave(self) -> None:
        """Also ends the two threads."""
        self._hub.leave.remote(self._incarnation)
        self.close()

    def close(self) -> None:
        """End the two threads without a goodbye."""
        self._pulls.shutdown(wait=False, cancel_futures=True)
        self._pushes.shutdown(wait=False, cancel_futures=True)

    def _fetch(self) -> Snapshot:
        header, (ref,) = ray.get(self._hub.pull.remote())
        return Snapshot(header, torch.from_numpy(ray.get(ref)))

    def _send(self, header: PushHeader, d: Tensor) -> PushReply:
        """Send until answered: an unavailable hub may or may not have applied it, and knows."""
        array = ray.put(d.numpy())
        while True:
            try:
                reply: PushReply = ray.get(self._hub.push.remote(header, array))
            except ActorUnavailableError:
                continue  # Ray itself waits for the connection, and tells us when it is dead
            return reply


def _result(future: Future[T]) -> T:
    """What the background brought; its failure as HubLost where it is that."""
    try:
        return future.result()
    except RayActorError as error:
        raise HubLost("the center", type(error).__name__) from error
