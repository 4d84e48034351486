"""A child's edge to its hub: through the hub's own memory where both are on one node.

Elsewhere through Ray's object store: snapshots come in, differences go out, both in the
background and at the same time, so that a line carries both directions at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import ray
import torch
from ray.exceptions import ObjectLostError, RayActorError
from torch import Tensor

from actors.asking import Find, insist, result_of
from actors.feed import Feed
from actors.stopwatch import Stopwatch
from actors.succession import Holding
from ray_easgd.errors import BadCluster, HubLost
from ray_easgd.in_place import read_center
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import Intervals, Outcome, PushHeader, PushReply, Version, WireFormat
from ray_easgd.shared.clerk import Clerk
from ray_easgd.staging import OnCpu, staging_for
from ray_easgd.wire import Parcel, Payload, warm_up

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.center import Center
    from ray_easgd.shared.desk import Desk
    from ray_easgd.shared.segment import Segment

Transport = Literal["auto", "shared_memory", "object_store"]
Tell = Callable[[str, str], None]
T = TypeVar("T")


def open_link(
    hub: ActorProxy[Center],
    child: str,
    *,
    transport: Transport = "auto",
    wire_format: WireFormat = "float32",
    part: int = 0,
    can_share: bool = True,
    device: torch.device | None = None,
    hub_name: str = "center",
    find: Find | None = None,
    tell: Tell | None = None,
    kind: Callable[..., HubLink] | None = None,
) -> HubLink:
    """An edge to slice ``part`` of a hub, by the transport that suits where the two are.

    ``can_share``: whether the method allows exchanges in the hub's memory. ``device``: where
    ``x`` lies; None is the CPU.
    ``find`` waits for the successor of a hub that died; without it the hub's end is an error.
    ``tell`` takes kind and message of what the user should know, while the child waits in ``join``.
    ``kind``: an edge that does something beside.
    """
    near = None
    if can_share and transport != "object_store":
        near = ray.get_runtime_context().get_node_id()
    must_share = transport == "shared_memory"
    return (kind or HubLink)(
        hub,
        child,
        part,
        wire_format,
        near=near,
        must_share=must_share,
        device=device,
        hub_name=hub_name,
        find=find,
        tell=tell,
    )


class HubLink:
    """One worker's edge to its hub. Two threads wait for Ray; the training thread never does.

    Where the hub is on this node and gives the child a place in its memory (``desk``), the link
    only says hello and goodbye. For a vector on a device the two threads bring copies there and
    from there, and walk over that memory (``Clerk``).
    """

    def __init__(
        self,
        hub: ActorProxy[Center],
        child: str,
        part: int = 0,
        wire_format: WireFormat = "float32",
        *,
        near: str | None = None,
        must_share: bool = False,
        device: torch.device | None = None,
        hub_name: str = "center",
        find: Find | None = None,
        tell: Tell | None = None,
    ) -> None:
        self.hub_name, self._tell = hub_name, tell or _nobody_asks
        self._hub: Any = hub  # Ray types no arguments that have defaults
        self._child, self._part = child, part
        self._format: WireFormat = wire_format
        self._near, self._must_share, self._find = near, must_share, find
        self._following = Lock()
        self._feed = Feed(part, wire_format)
        self.incoming, self.outgoing = Stopwatch(), Stopwatch()
        self.orphaned = False
        self.on_arrival: Callable[[], None] = _nothing
        self.incarnation = 0
        self.newest: Snapshot | None = None
        self._staging = staging_for(device or torch.device("cpu"))
        self.desk: Desk | None = None
        self.clerk: Clerk | None = None
        self._layout: tuple[Slot, ...] = ()
        self._is_owed_pushes = False  # the hub has a successor that knows us
        self._segment: Segment
        self._pulls = ThreadPoolExecutor(1, thread_name_prefix="pull")
        self._pushes = ThreadPoolExecutor(1, thread_name_prefix="push")
        self._words = ThreadPoolExecutor(1, thread_name_prefix="word")  # a hub may be deaf
        self._pulling: Future[Snapshot] | None = None
        self._pushing: deque[Future[PushReply]] = deque()
        self._telling: Future[None] | None = None

    def join(
        self, vector: Tensor, layout: Sequence[Slot], *, ledger_seed: int | None = None
    ) -> tuple[int, Snapshot]:
        wait(self._pushing if self.clerk else ())
        self._close_desk()
        warm_up(self._format)
        while True:
            self._pulling, self.orphaned = None, False
            self._pushing.clear()
            future = self._pulls.submit(self._join, vector.numpy(), tuple(layout), ledger_seed)
            wait([future])
            if (joined := self._known(future)) is not None:
                self.incarnation, snapshot = joined
                self.newest, self._layout = snapshot, tuple(layout)
                return self.incarnation, snapshot

    def pull(self, showing: int | None = None) -> None:
        if self._pulling is None:
            self._pulling = self._pulls.submit(self.incoming.timed, self._fetch, showing)
            self._pulling.add_done_callback(self._arrived)

    def pulled(self) -> Snapshot | None:
        if self._pulling is None or not self._pulling.done():
            return None
        future, self._pulling = self._pulling, None
        return self._known(future)

    def push(self, header: PushHeader, d: Payload) -> None:
        self._pushing.append(self._pushes.submit(self.outgoing.timed, self._send, header, d))
        self._pushing[-1].add_done_callback(self._arrived)

    def replies(self) -> list[PushReply]:
        answers = []
        while self._pushing and self._pushing[0].done():
            answers.append(self._known(self._pushing.popleft()))
        if self._is_owed_pushes:
            self._is_owed_pushes = False
            answers.append(PushReply(outcome=Outcome.GAP, version=Version(0, 0)))
        return [answer for answer in answers if answer is not None]

    def tell(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = self._words.submit(self._collect)

    def pass_up(self) -> None:
        if self._find is not None:
            self._known(self._pushes.submit(self._ask, lambda hub: hub.pass_up.remote(self._part)))

    @property
    def under_way_s(self) -> float:
        """How long all its pulls and pushes have taken together."""
        return self.incoming.total_s + self.outgoing.total_s

    @property
    def holding(self) -> Holding | None:
        """What a successor of the hub could begin from; None before it has joined."""
        if self.newest is None:
            return None
        version, address = self.newest.header.version, None
        with suppress(AttributeError):  # it is just letting go of the memory
            if (desk := self._at_desk) is not None:
                version, address = desk.version, self._segment.address
        return Holding(
            child=self._child,
            incarnation=self.incarnation,
            version=version,
            layout=self._layout,
            address=address,
        )

    @property
    def in_memory(self) -> bool:
        """Whether exchanges are made in the hub's own memory."""
        return self.desk is not None or self.clerk is not None

    @property
    def untold(self) -> Intervals:
        """Data that the hub has in its memory, and has not heard of."""
        return self._at_desk.untold if self._at_desk else ()

    @property
    def _at_desk(self) -> Desk | None:
        return self.clerk.desk if self.clerk is not None else self.desk

    @property
    def busy(self) -> bool:
        return bool(self._pushing)

    def drain(self, *, pulls: bool = True) -> None:
        """Where the child has a desk: wait until the hub has read what it wrote there."""
        if self.desk is not None:
            self._known(self._pushes.submit(self._collect))
            return
        under_way: list[Future[Any]] = [*self._pushing]
        wait(under_way + ([self._pulling] if pulls and self._pulling else []))
        if self.clerk is not None:
            self.clerk.settle()
            self._known(self._pushes.submit(self._collect))

    def leave(self) -> None:
        """Also lets go of the hub's memory. An aggregator may join again: a child may come."""
        self._hub.leave.remote(self.incarnation, self._part, self.untold)
        self._close_desk()

    def close(self) -> None:
        """End the threads; no goodbye."""
        self._close_desk()
        self._pulls.shutdown(wait=False, cancel_futures=True)
        self._pushes.shutdown(wait=False, cancel_futures=True)
        self._words.shutdown(wait=False, cancel_futures=True)

    def _close_desk(self) -> None:
        desk = self.desk
        if self.clerk is not None:
            desk = self.clerk.desk
            self.clerk.close()
        if desk is not None:
            desk.close()
            self._segment.close()
        self.desk = self.clerk = None

    def _join(
        self, vector: np.ndarray, layout: tuple[Slot, ...], ledger_seed: int | None
    ) -> tuple[int, Snapshot]:
        """A join whose answer was lost is made again: the life nobody heard of takes no step."""
        near = self._near
        while True:
            hello = self._child, vector, layout, self._part, near
            answer = self._ask(partial(self._feed.join, hello=hello))
            incarnation, header, refs, place = answer
            if place is None:
                if self._must_share:
                    raise self._cannot_share("the hub has no place for it; is it on this node?")
                try:
                    return incarnation, Snapshot(header, self._feed.vector(refs[0]))
                except (ObjectLostError, RayActorError):
                    continue  # the hub died since
            from ray_easgd.shared.segment import SharedMemoryUnavailable

            try:
                self._segment, desk = place.open(incarnation, ledger_seed=ledger_seed)
            except SharedMemoryUnavailable as error:
                if self._must_share:
                    raise self._cannot_share(str(error)) from error
                self._hub.leave.remote(incarnation, self._part, ())
                near = None  # as if the hub were far away
                message = f"{self._child} exchanges through the object store: {error}"
                self._tell("messages", message)
                continue
            if isinstance(self._staging, OnCpu):
                self.desk = desk
            else:
                self.clerk = Clerk(desk)
            return incarnation, Snapshot(header, read_center(desk, len(vector)))

    def _collect(self) -> None:
        self._ask(lambda hub: hub.collect.remote(self._part))

    def _arrived(self, _: Future[Any]) -> None:
        self.on_arrival()

    def _known(self, future: Future[T]) -> T | None:
        """What the background brought; None where the hub is lost and its successor known."""
        try:
            return result_of(future)
        except HubLost:
            if not self.orphaned:
                raise
            return None

    def _ask(self, call: Callable[[Any], Any]) -> Any:
        """An answer of the hub, or of a successor that knows us. In the background only."""
        while True:
            hub = self._hub
            if self.orphaned:  # the successor knows nothing of what was asked for
                raise HubLost("the hub", "it has a successor")
            try:
                return insist(partial(call, hub))
            except RayActorError:
                if not self._follow(hub):
                    raise

    def _follow(self, lost: Any) -> bool:
        """Wait for the successor of a hub that died. Whether we are its child already."""
        if self._find is None:
            return False
        with self._following:
            if self._hub is lost:
                successor = self._find()
                shares = self.in_memory and self._segment.address.token in successor.memory
                is_known = self.incarnation in successor.lives(self._part)
                self._is_owed_pushes = is_known and not shares
                self.orphaned = not shares and not is_known
                self._hub = successor.handle  # last: who asks looks at both, in this order
            return not self.orphaned

    def _cannot_share(self, reason: str) -> BadCluster:
        return BadCluster(
            "exchange.transport",
            "shared_memory",
            f"{self._child} cannot exchange in its hub's memory: {reason}",
            "Set exchange.transport=auto, which takes the object store there.",
        )

    def _fetch(self, showing: int | None) -> Snapshot:
        while True:
            try:
                self.newest = self._brought(self._fetch_once(showing))
                return self.newest
            except (ObjectLostError, RayActorError):
                self._collect()  # its owner died: so did the hub, unless it can say otherwise

    def _brought(self, snapshot: Snapshot) -> Snapshot:
        """Where ``x`` is."""
        there = self._staging.bring(snapshot.vector)
        self._staging.wait()
        return replace(snapshot, vector=there)

    def _fetch_once(self, showing: int | None) -> Snapshot:
        if self.clerk is not None:
            return self.clerk.fetch(self._staging.room(self.clerk.desk.size))
        pull = partial(self._feed.pull, incarnation=self.incarnation, showing=showing)
        return self._feed.snapshot(self._ask(pull))

    def _send(self, header: PushHeader, d: Payload) -> PushReply:
        """Sent until answered: the hub knows by its number whether it had applied it."""
        if self.clerk is not None:
            reply = self.clerk.apply(header, d)
            if self.clerk.desk.asks_for_word():
                self.tell()
            return reply
        d = d.landed() if isinstance(d, Parcel) else d
        payload = ray.put(d.numpy() if isinstance(d, Tensor) else d)
        answer: PushReply = self._ask(lambda hub: hub.push.remote(header, payload, self._part))
        return answer


def _nothing() -> None:
    """Nobody listens."""


def _nobody_asks(kind: str, message: str) -> None:
    """Nobody wants to know."""
