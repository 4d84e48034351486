"""A hub whose vector some children move in place, in memory they share, and others by pushes.

What the children of its node did there it learns by ``collect``; all else it does as any hub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ray_easgd.algorithms.contract import Arrival
from ray_easgd.hub import Hub, HubOptions
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import ALONE_BY_METHOD, PushHeader, PushReply, SnapshotHeader
from ray_easgd.wire import Payload, decoded

if TYPE_CHECKING:
    from ray_easgd.shared.desk import Desk
    from ray_easgd.shared.hall import Hall
    from ray_easgd.shared.segment import Address, Segment


UNNAMED = "child"
"""How a life is called whose owner a successor does not know, with its number."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a child of the hub's node finds its row in the hub's memory."""

    address: Address
    row: int

    def open(self, incarnation: int, *, ledger_seed: int | None) -> tuple[Segment, Desk]:
        """Map it into this process. Raises SharedMemoryUnavailable."""
        from ray_easgd.shared.desk import Desk
        from ray_easgd.shared.segment import Segment

        segment = Segment.open(self.address)
        try:
            return segment, Desk(segment, self.row, incarnation, ledger_seed=ledger_seed)
        except BaseException:
            segment.close()
            raise


class SharedHub(Hub):
    """Shares its vector from the first child that asks for a place, where its step only adds.

    ``why_alone`` says why a child that asked got none; empty where none asked in vain.
    """

    def __init__(self, options: HubOptions) -> None:
        super().__init__(options)
        self.why_alone = ""
        self._segment: Segment | None = None
        self._hall: Hall | None = None
        self._is_astray = False  # the ledger

    @property
    def address(self) -> Address | None:
        """Of the memory it shares."""
        return None if self._segment is None else self._segment.address

    @property
    def steps_in_place(self) -> int:
        """Gradient steps behind all exchanges in its memory, those of hubs before it included."""
        return 0 if self._hall is None else self._hall.totals.steps

    @property
    def num_places(self) -> int:
        """Living children that exchange in place."""
        return 0 if self._hall is None else len(self._hall.lives)

    def take_over(
        self, address: Address, layout: Sequence[Slot], children: Mapping[int, str], born: int
    ) -> None:
        """Go on with the memory of a hub that died, and with the children that exchange there.

        ``children`` names those that are known by name, ``born`` is the number of lives there were.
        What the dead hub was told and had told nobody is forgotten. Raises SharedMemoryUnavailable.
        """
        from ray_easgd.shared.hall import Hall
        from ray_easgd.shared.segment import Segment

        self._segment = Segment.open(address)
        self._hall = Hall(self._segment)
        self.epoch, self._count = self._hall.epoch, self._hall.num_booked
        self.adopt(torch.from_numpy(self._segment.vector), layout)
        lives = self._hall.lives
        self._living = {life: children.get(life, f"{UNNAMED} {life}") for life in lives}
        self._applied = self._hall.applied
        self._born = max((born, *lives))
        if self._ledger is not None:  # goes on: the vector moves while it is looked at
            booked = self._hall.totals
            self._ledger.start = self._hall.ledger
            self._ledger.applied = booked.checksum
            self._ledger.scale += booked.scale
        self.collect()  # what they did since the dead hub last looked
        self._look_again()
        self._renew()

    def give_place(self, incarnation: int) -> Place | None:
        """A row for this living child, or None: it has to push and pull, as from another node."""
        options = self.options
        if not options.center_step.additive or options.rounds != "none" or options.traced:
            self.why_alone = ALONE_BY_METHOD
            return None
        if self._hall is None and not self._share():
            return None
        assert self._hall is not None
        assert self._segment is not None
        row = self._hall.admit(incarnation)
        if row is None:
            self.why_alone = "every row of the shared memory is taken"
            return None
        self._hall.set_rate(self.moving_rate)
        self._look_again()
        return Place(self._segment.address, row)

    def collect(self) -> None:
        """Book what was exchanged in place since the last time."""
        if self._hall is None:
            return
        self._hall.settle()
        is_torn, count, version = self._is_astray, self._count, self._hall.version_count
        for news in self._hall.collect():
            self._count += news.exchanges
            self._applied[news.incarnation] = news.sequence
            self.steps += news.steps
            self.progress.add(news.intervals)
            if self._ledger is not None:
                self._ledger.applied += news.checksum
                self._ledger.scale += news.scale
                is_torn |= news.torn
        if self._count > count:
            self._saw(self._count - count)
            self._look_again()
        if self._ledger is not None and is_torn:
            # A killed child's last exchange is in the vector in part, and in no checksum. A sum of
            # a vector that moves is none: then once more.
            self._ledger.begin_again(self.shown_vector())
            self._is_astray = not self._hall.is_still(version)

    def shown_vector(self) -> Tensor:
        """The vector with every push that is booked; not to be written to."""
        assert self.vector is not None, "no child has brought a vector yet"
        if self._hall is not None and self._hall.num_owed:
            return torch.from_numpy(self._hall.snapshot())
        return self.vector

    def close(self) -> None:
        """Let go of the memory; children that still have it keep it alive."""
        if self._hall is not None and self._segment is not None:
            self.vector = self.shown_vector().clone()
            self._hall.close()
            self._segment.close()
            self._hall = self._segment = None

    def admit(self, child: str, vector: Tensor, layout: Sequence[Slot]) -> int:
        incarnation = super().admit(child, vector, layout)
        self._renew()
        return incarnation

    def dismiss(self, incarnation: int, *, lost: bool = False) -> None:
        """As a hub does. A child stopped inside an exchange is done with at a later ``collect``."""
        if self._hall is not None:
            self._hall.dismiss(incarnation)
            self.collect()
        super().dismiss(incarnation, lost=lost)
        self._renew()

    def moved(self) -> None:
        super().moved()
        self._renew()

    def add(self, d: Tensor) -> None:
        """``c <- c + d``, shape (n,), whoever else moves it; no push of a child's."""
        assert self._hall is not None
        self._hall.add(d.numpy())

    def proceed(self) -> None:
        """Go on with what children did in place."""
        self.collect()

    def wake_at(self, count: int) -> None:
        """The version at which a child that exchanges in place is to say a word."""
        if self._hall is not None:
            self._hall.set_wake_count(count)

    @property
    def is_shared(self) -> bool:
        """Whether children move the vector in place."""
        return self._hall is not None

    def apply(self, header: PushHeader, d: Payload) -> PushReply:
        self.collect()
        reply = super().apply(header, d)
        self._renew()
        return reply

    def header(self) -> SnapshotHeader:
        self.collect()
        return super().header()

    def snapshot(self) -> Snapshot:
        """A copy of the vector with its header.

        It contains every push the header shows, and parts of those that came in meanwhile.
        """
        return Snapshot(self.header(), self.shown_vector().clone())

    def ledger_error(self) -> float | None:
        """As a hub's, to be asked while no child exchanges in place."""
        self.collect()
        return super().ledger_error()

    def _share(self) -> bool:
        from ray_easgd.shared.hall import Hall
        from ray_easgd.shared.segment import Segment, SharedMemoryUnavailable

        assert self.vector is not None
        try:
            self._segment = Segment.create(self.vector.numel())
        except SharedMemoryUnavailable as error:
            self.why_alone = str(error)
            return False
        self._segment.vector[:] = self.vector.numpy()
        self.vector = torch.from_numpy(self._segment.vector)
        self._hall = Hall(self._segment, epoch=self.epoch)
        self._renew()
        return True

    def _renew(self) -> None:
        """Tell those who exchange in place what they cannot know: the rate, and others' pushes."""
        if self._hall is not None:
            self._hall.set_rate(self.moving_rate)
            booked = self._hall.totals
            self._hall.set_base_count(self._count - booked.exchanges)
            if self._ledger is not None:
                expected = self._ledger.start + self._ledger.applied
                self._hall.set_ledger(expected - booked.checksum)

    def _move(self, d: Payload, arrival: Arrival) -> None:
        if self._hall is None:
            super()._move(d, arrival)
        else:
            self._hall.add(decoded(d).numpy())
            self._saw(arrival.pushes)

    def _saw(self, pushes: int) -> None:
        """Let what the center step remembers follow the vector that children move."""
        step = self.options.center_step
        if step.looks_after(self.state) is not None:
            step.saw_(self.shown_vector(), self.state, pushes)

    def _look_again(self) -> None:
        """In time for that."""
        if (pushes := self.options.center_step.looks_after(self.state)) is not None:
            self.wake_at(self._count + pushes)
