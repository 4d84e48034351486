"""Exactly once in the hub's memory, whatever desks, hub and holders of stripes do, in any order."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ray_easgd.protocol import Interval, Outcome
from ray_easgd.shared.desk import Desk
from ray_easgd.shared.hall import Hall
from ray_easgd.shared.segment import Segment
from ray_easgd.shared.stripes import Stripes

STRIPE = 32_768
N = 3 * STRIPE + 5  # four stripes, the last one short
APPLIED, REFUSED = Outcome.APPLIED, Outcome.REFUSED


class ExactlyOnce(RuleBasedStateMachine):
    """Three desks, the hub and a process that holds stripes, in any order.

    Vectors hold whole numbers, which float32 adds exactly, so the center *is* the count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.segment = Segment.create(N, rows=3)
        self.hall, self.holder = Hall(self.segment), Stripes(self.segment)
        self.held: set[int] = set()
        self.desks: dict[int, Desk] = {}
        self.born = self.pushes = self.exchanges = self.steps = 0
        self.expected = np.zeros(N)
        self.told: Counter[Interval] = Counter()
        self.trained: Counter[Interval] = Counter()

    def teardown(self) -> None:
        for desk in self.desks.values():
            desk.close()
        self.holder.close()
        self.hall.close()
        self.segment.close()

    @rule()
    def join(self) -> None:
        row = self.hall.admit(self.born + 1)
        if row is not None:
            self.born += 1
            self.desks[self.born] = Desk(self.segment, row, self.born)

    @precondition(lambda self: self.desks)
    @rule(data=st.data(), value=st.integers(-9, 9), num=st.integers(0, 40))
    def push_in_place(self, data: st.DataObject, value: int, num: int) -> None:
        desk = self.desks[data.draw(st.sampled_from(sorted(self.desks)))]
        at = 1000 * self.exchanges
        lived = [Interval(self.exchanges % 2, at + 2 * k, at + 2 * k + 1) for k in range(num)]
        met = desk.add(d := np.full(N, value, np.float32), steps=num, progress=lived)
        assert met.outcome is APPLIED
        for start, stop in met.missed:
            d[start:stop] = 0
        self.expected += d
        self.exchanges += 1
        self.steps += num
        self.trained.update(lived)

    @rule(value=st.integers(-9, 9))
    def push_by_the_hub(self, value: int) -> None:
        assert self.hall.add(np.full(N, value, np.float32))
        self.pushes += 1
        self.hall.set_base_count(self.pushes)
        self.expected += value

    @rule(k=st.integers(0, 3))
    def hold_or_free_a_stripe(self, k: int) -> None:
        if k in self.held:
            self.holder.unlock(k)
        else:
            assert self.holder.try_lock(k)
        self.held ^= {k}

    @rule()
    def settle(self) -> None:
        if not self.held:
            assert self.hall.settle() == 0
            assert (self.segment.vector == self.expected).all()
        self.hall.settle()

    @rule()
    def collect(self) -> None:
        for news in self.hall.collect():
            self.told.update(news.intervals)
        kept = [i for desk in self.desks.values() for i in desk.pending_progress()]
        assert self.told + Counter(kept) == self.trained
        pending = sum(desk.pending_steps for desk in self.desks.values())
        assert self.hall.totals.steps + pending == self.steps
        assert self.hall.totals.exchanges == self.exchanges

    @precondition(lambda self: self.desks)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        life = data.draw(st.sampled_from(sorted(self.desks)))
        desk = self.desks.pop(life)
        self.hall.dismiss(life)
        assert desk.add(np.full(N, 1, np.float32), steps=1).outcome is REFUSED
        self.trained.subtract(desk.pending_progress())
        self.trained = +self.trained
        self.steps -= desk.pending_steps
        desk.close()

    @invariant()
    def every_push_is_shown_once(self) -> None:
        assert (self.hall.snapshot() == self.expected).all()
        assert self.hall.version_count == self.pushes + self.exchanges
        assert set(self.hall.lives) == set(self.desks)


ExactlyOnce.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestExactlyOnce = ExactlyOnce.TestCase
