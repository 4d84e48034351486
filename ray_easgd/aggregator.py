"""An aggregator: a hub for its children and, towards its parent, a worker without gradients.

A pure machine over a ``Link``, as the hub is one. Its vector has both roles: its children's pushes
move it, and so does its parent's pull. Its local clock counts the pushes it has served
(docs/mathematics.md, 2.10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.hub import HubOptions
from ray_easgd.link import Link
from ray_easgd.one_way import kind_of_tie
from ray_easgd.parameters import ParameterVector, Slot
from ray_easgd.ports import Reporter
from ray_easgd.progress import Progress, merge
from ray_easgd.protocol import Interval, Intervals, PushHeader, PushReply
from ray_easgd.shared_hub import SharedHub
from ray_easgd.wire import Payload

if TYPE_CHECKING:
    from ray_easgd.shared.segment import Address

GiveBack = Callable[[Intervals], None]


class Aggregator(SharedHub):
    """``options`` is how it treats its children, ``tie_options`` how it meets its parent.

    While children move its vector in place, its tie works on a copy, and what that moves by is
    added as any push is. ``give_back`` takes data whose steps its parent refused.
    """

    def __init__(
        self,
        name: str,
        options: HubOptions,
        link: Link,
        tie_options: ElasticOptions,
        reporter: Reporter,
        give_back: GiveBack = lambda _: None,
    ) -> None:
        super().__init__(options)
        self.name, self.link = name, link
        self.tie: Elastic | None = None
        self.progress = self._passing = _Passing(give_back)
        self._tie_options, self._reporter = tie_options, reporter
        self._num_moved = self._num_seen = 0
        self._copied: Tensor | None = None  # the tie's copy, as its next act finds it

    def admit(self, child: str, vector: Tensor, layout: Sequence[Slot]) -> int:
        """As a hub does; the first child's vector also introduces it to its parent."""
        if self.tie is None:
            self._meet_parent(vector, layout)
        return super().admit(child, vector, layout)

    def take_over(
        self, address: Address, layout: Sequence[Slot], children: Mapping[int, str], born: int
    ) -> None:
        """As a hub does; to its parent it is a new life at the same place."""
        super().take_over(address, layout, children, born)
        self._meet_parent(self.shown_vector(), layout, stays=True)
        self.proceed()

    def dismiss(self, incarnation: int, *, lost: bool = False) -> None:
        """A child's goodbye, or its loss; without children it takes leave of its parent too."""
        super().dismiss(incarnation, lost=lost)
        self._count_served()
        if not self.children and self.tie is not None:
            self._watch(self.tie, self.tie.finish)
            self.tie = None

    def apply(self, header: PushHeader, d: Payload) -> PushReply:
        """Take a child's push in, and meet the parent when that is due."""
        reply = super().apply(header, d)
        self._count_served()
        return reply

    @property
    def num_served(self) -> int:
        """Pushes of its children that it has taken in: its local clock, but for where it began."""
        return self._count - self._num_moved

    @property
    def waiting(self) -> bool:
        """Whether it waits for a round of its own parent; then so do its children."""
        return self.tie is not None and self.tie.waiting

    def proceed(self) -> None:
        """Go on with what children did in place, and with what has arrived from the parent."""
        self.collect()
        self._count_served()
        if self.tie is not None:
            self._watch(self.tie, self.tie.proceed)
            self._ask_for_word(self.tie)

    def hurry(self) -> int:
        """Let the next exchange with the parent be due now; returns the clock it will tell of."""
        assert self.tie is not None
        self._watch(self.tie, self.tie.hurry)
        return self.tie.clock

    def has_told(self, clock: int) -> bool:
        """Whether its parent has what it did up to ``clock``."""
        return self.tie is None or self.tie.has_told(clock)

    def shows(self, incarnation: int, sequence: int) -> bool:
        """As a hub does, but not while it waits for its parent."""
        return not self.waiting and super().shows(incarnation, sequence)

    def moved(self) -> None:
        """By its parent; that is a version of its own."""
        self._num_moved += 1
        super().moved()

    def _meet_parent(self, vector: Tensor, layout: Sequence[Slot], *, stays: bool = False) -> None:
        self.tie = kind_of_tie(self._tie_options.algorithm)(
            ParameterVector(vector.clone(), tuple(layout)),
            self.link,
            self._tie_options,
            self._reporter,
            name=self.name,
            data=self._passing,
            stays=stays,
        )
        self._num_seen, self._copied = self.num_served, None
        if not self.is_shared:
            self.adopt(self.tie.vector.flat, layout)
        elif not stays:
            self._displace(self.shown_vector(), self.tie.vector.flat)

    def _count_served(self) -> None:
        """Its local clock is the number of pushes it has served."""
        self._passing.steps = self.steps
        while self.tie is not None and self._num_seen < self.num_served:
            self._num_seen += 1
            is_due = self.tie.clock + 1 >= self.tie.looks_at
            self._watch(self.tie, self.tie.step, may_meet=is_due)

    def _ask_for_word(self, tie: Elastic) -> None:
        """Children who exchange in place speak up when there is something to do for the tie."""
        ahead = tie.looks_at - tie.clock
        unseen = self.num_served - self._num_seen
        self.wake_at(self._count - unseen + (ahead if ahead > 0 else self._tie_options.period))

    def _renew(self) -> None:
        super()._renew()
        if self.tie is not None:
            self._ask_for_word(self.tie)

    @torch.no_grad()
    def _watch(self, tie: Elastic, act: Callable[[], None], *, may_meet: bool = True) -> None:
        """What moves the vector makes a version, and goes into the ledger beside the pushes.

        ``may_meet``: the act may exchange, for which the copy has to be as the vector is now.
        """
        moves, stood = tie.counts.moves, 0.0
        if self.is_shared:
            self._renew_copy(tie.vector.flat, is_old=may_meet)
        else:
            stood = self._checksum()
        act()
        if tie.counts.moves > moves:
            if self._copied is not None:
                self._displace(self._copied, tie.vector.flat)
                self._copied.copy_(tie.vector.flat)
            elif self._ledger is not None:
                self._ledger.add(self._checksum() - stood)
            self.moved()

    def _renew_copy(self, copy: Tensor, *, is_old: bool) -> None:
        if self._copied is None:
            self._copied = copy.clone()
        if is_old:
            copy.copy_(self._copied.copy_(self.shown_vector()))

    def _displace(self, before: Tensor, after: Tensor) -> None:
        """Move the vector as the tie moved its copy, whoever else moves it meanwhile."""
        d = after - before
        self.add(d)
        if self._ledger is not None:
            self._ledger.add(self._ledger.checksum(d))

    def _checksum(self) -> float:
        """Of its vector as it stands; nothing where no ledger is kept."""
        if self._ledger is None or self.vector is None:
            return 0.0
        return self._ledger.checksum(self.vector)


class _Passing(Progress):
    """The data of all pushes of the children; and of its news, the tie's data book."""

    def __init__(self, give_back: GiveBack) -> None:
        super().__init__()
        self.steps = 0  # of the leaves, so far
        self._told_steps = 0
        self._news: list[Interval] = []
        self._give_back = give_back

    def add(self, intervals: Iterable[Interval]) -> None:
        intervals = tuple(intervals)
        super().add(intervals)
        self._news.extend(intervals)

    def take_progress(self) -> Intervals:
        taken, self._news = self._news, []
        return merge(sorted(taken))

    def take_steps(self, clock: int) -> int:
        """The gradient steps of the leaves."""
        steps, self._told_steps = self.steps - self._told_steps, self.steps
        return steps

    def give_back(self, intervals: Intervals) -> None:
        self._give_back(intervals)
