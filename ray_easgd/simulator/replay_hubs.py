"""Hubs run again from their records, each in its own order.

What a hub has to wait for it fetches: it lets its children come so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from torch import Tensor

from ray_easgd.aggregator import Aggregator
from ray_easgd.errors import BadStorage
from ray_easgd.hub import Hub
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import PushHeader, PushReply, SnapshotHeader, Version
from ray_easgd.trace import Joined, Left, Moved, Pushed, Record
from ray_easgd.wire import Payload


class Child(Protocol):
    """Somebody who makes the pushes that are recorded of one life."""

    def advance(self, header: PushHeader) -> tuple[PushHeader, Payload]:
        """Do all that comes before the next push, and make it."""
        ...


class Fleet(Protocol):
    """The run that the hubs are of."""

    path: str

    def child(self, name: str, parent: ReplayedHub, pushes: list[PushHeader]) -> Child:
        """A life of a hub's child: a worker's, or an aggregator's under its parent."""
        ...

    def differs(self, hub: str, header: PushHeader, version: Version) -> None:
        """A push is not the one that was recorded."""
        ...


class ReplayedHub:
    """A hub, its records, and its past snapshots as long as somebody will need them."""

    def __init__(
        self, replay: Fleet, name: str, records: Sequence[Record], hub: Hub, *, depth: int
    ) -> None:
        self.replay, self.name, self.hub, self.depth = replay, name, hub, depth
        self._records = records
        self._next = 0
        self._children: dict[int, Child] = {}
        self._needed = Counter(r.header.computed_from for r in records if isinstance(r, Pushed))
        self._past: dict[Version, Snapshot] = {}

    def go_on(self) -> None:
        """One record further."""
        record = self._records[self._next]
        self._next += 1
        if isinstance(record, Joined):
            self._join(record)
        elif isinstance(record, Left):
            self._leave(record)
        elif isinstance(record, Moved):
            self._move(record)
        else:
            self._push(record)

    def snapshot(self, header: PushHeader) -> Snapshot:
        """The vector that a push was computed from, with the rate that came with it."""
        past = self._past[header.computed_from]
        self._needed[header.computed_from] -= 1
        if not self._needed[header.computed_from]:
            del self._past[header.computed_from]
        known = past.header
        return Snapshot(
            SnapshotHeader(
                version=known.version, moving_rate=header.moving_rate, applied=known.applied
            ),
            past.vector,
        )

    def admit(self, child: str, vector: Tensor, layout: Sequence[Slot]) -> tuple[int, Snapshot]:
        """A life joins the hub as it is."""
        incarnation = self.hub.admit(child, vector, layout)
        self._keep()
        return incarnation, self.hub.snapshot()

    def _join(self, record: Joined) -> None:
        mine = (r.header for r in self._records if isinstance(r, Pushed))
        pushes = [header for header in mine if header.incarnation == record.incarnation]
        self._children[record.incarnation] = self.replay.child(record.child, self, pushes)

    def _push(self, record: Pushed) -> None:
        header, d = self._children[record.header.incarnation].advance(record.header)
        if header.checksum != record.header.checksum:
            self.replay.differs(self.name, header, record.version)
        self.hub.apply(header, d)
        self._keep()

    def _leave(self, record: Left) -> None:
        self.hub.dismiss(record.incarnation, lost=record.lost)

    def _move(self, record: Moved) -> None:
        raise cannot(self.replay.path, f"{self.name} has no parent to be moved by")

    def _keep(self) -> None:
        if self._needed[self.hub.version]:
            self._past[self.hub.version] = self.hub.snapshot()


class ReplayedAggregator(ReplayedHub):
    """A hub that is its parent's child: it meets its parent when its records say that it did."""

    def __init__(
        self,
        replay: Fleet,
        name: str,
        records: Sequence[Record],
        hub: Aggregator,
        *,
        depth: int,
        link: UpLink,
    ) -> None:
        super().__init__(replay, name, records, hub, depth=depth)
        self._aggregator, self._link = hub, link

    def begin(self, pushes: list[PushHeader]) -> None:
        """Come so far that it joins its parent: its first child does."""
        self._link.begin(pushes)
        while not self._link.has_joined:
            self.go_on()

    def advance(self, header: PushHeader) -> tuple[PushHeader, Payload]:
        """Come so far that it makes its next push."""
        while self._link.sent is None:
            self.go_on()
        return self._link.take_sent()

    def go_on(self) -> None:
        """Its own order is known; one without a next record, or with another version, is astray."""
        if self._next == len(self._records):
            raise cannot(self.replay.path, f"{self.name} recorded less than its parent has of it")
        version = self._records[self._next].version
        super().go_on()
        if self.hub.version < version:
            raise cannot(
                self.replay.path,
                f"{self.name} is at version {self.hub.version} where the trace says {version}: it "
                "was lost in the run, and what it had recorded with it",
            )

    def _leave(self, record: Left) -> None:
        with self._link.opened():  # the last child's leave may be its own
            super()._leave(record)
        self._keep()

    def _move(self, record: Moved) -> None:
        if self.hub.version < record.version:
            with self._link.opened():
                self._aggregator.hurry()
        self._keep()


class UpLink:
    """Brings an aggregator what its parent gave it, while it is open, and keeps what it sends."""

    def __init__(self, parent: ReplayedHub, child: str) -> None:
        self._parent, self._child = parent, child
        self._coming: list[PushHeader] = []
        self._asked = self._is_open = self.has_joined = False
        self.desk, self.orphaned = None, False
        self.sent: tuple[PushHeader, Payload] | None = None

    def begin(self, pushes: list[PushHeader]) -> None:
        """A new life, with these pushes to make."""
        self._coming, self.has_joined, self._asked = pushes[::-1], False, False

    @contextmanager
    def opened(self) -> Iterator[None]:
        """For one exchange at most."""
        self._is_open = True
        yield
        self._is_open = False

    def join(
        self, vector: Tensor, layout: Sequence[Slot], *, ledger_seed: int | None = None
    ) -> tuple[int, Snapshot]:
        self.has_joined = True
        return self._parent.admit(self._child, vector, layout)

    def pull(self, showing: int | None = None) -> None:
        self._asked = True

    def pulled(self) -> Snapshot | None:
        if not (self._is_open and self._asked and self._coming):
            return None
        self._asked = False
        return self._parent.snapshot(self._coming.pop())

    def push(self, header: PushHeader, d: Payload) -> None:
        self._is_open, self.sent = False, (header, d)

    def take_sent(self) -> tuple[PushHeader, Payload]:
        """The push that was just made."""
        assert self.sent is not None
        sent, self.sent = self.sent, None
        return sent

    def replies(self) -> list[PushReply]:
        return []

    @property
    def busy(self) -> bool:
        """Whether it is not the moment."""
        return not self._is_open

    def drain(self, *, pulls: bool = True) -> None:
        """Nothing is ever under way."""

    def tell(self) -> None:
        """There is no desk."""

    def pass_up(self) -> None:
        """Nobody asks where the data is."""

    def leave(self) -> None:
        """The trace says when."""


def cannot(path: str, problem: str) -> BadStorage:
    return BadStorage("--replay", path, problem, "It cannot be run again; its records can be read.")
