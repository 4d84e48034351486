"""Random histories of a hub and its children, on a wire that loses, doubles and reorders.

Each push is one-hot of its own number, so the center says which arrived, and how often. It is held
against a journal of what was acknowledged: the edge ledger, push by push.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torch import Tensor

from ray_easgd.algorithms.contract import Add
from ray_easgd.child import Child
from ray_easgd.hub import Hub, HubOptions
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import Outcome, PushHeader, PushReply, Version

SIZE = 48
LAYOUT = (Slot("w", (SIZE,), 0, SIZE),)
ONE_HOT = torch.eye(SIZE)


@dataclass(frozen=True, eq=False)
class Held:
    """A snapshot, and what the journal says it has to contain."""

    snapshot: Snapshot
    counted: frozenset[int]


@dataclass(eq=False)
class Life:
    """A child's process: what it holds, and the numbers of its pushes by their sequence."""

    child: Child
    held: Held
    pushes: dict[int, int] = field(default_factory=dict)

    @property
    def number(self) -> int:
        return self.child.incarnation

    def unseen(self) -> set[int]:
        return {self.pushes[header.sequence] for header, _ in self.child.retained}


@dataclass(frozen=True, eq=False)
class Push:
    """A push on the wire."""

    life: Life
    header: PushHeader
    d: Tensor


class HubHistories(RuleBasedStateMachine):
    """Children push, resend, pull, join, leave, crash and stop; the hub is lost and recovered.

    ``living`` the hub believes in, ``stopped`` it took for dead although they are not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub(HubOptions(center_step=Add(), ledger_seed=1))
        self.counted: frozenset[int] = frozenset()
        self.living: list[Life] = []
        self.stopped: list[Life] = []
        self.numbers: set[int] = set()
        self.num_pushes = 0
        self.wire: list[Push] = []
        self.answers: list[tuple[Life, PushReply]] = []
        self.snapshots: list[tuple[Life, Held]] = []
        self.join()
        self.join()

    # -- children --------------------------------------------------------------------------

    @precondition(lambda self: len(self.living) < 5)
    @rule()
    def join(self) -> None:
        number = self.hub.admit("w", torch.zeros(SIZE), LAYOUT)
        assert number not in self.numbers, "it was somebody else's"
        self.numbers.add(number)
        self.living.append(Life(Child(number), self.cut()))

    @precondition(lambda self: self.living or self.stopped)
    @rule(data=st.data(), times=st.integers(1, 2))
    def push(self, data: st.DataObject, times: int) -> None:
        life = self.one(data, [*self.living, *self.stopped])
        for _ in range(times):
            if life.child.may_push and self.num_pushes < SIZE:
                self.send(life)

    @precondition(lambda self: self.living)
    @rule(data=st.data(), shown=st.booleans())
    def exchange(self, data: st.DataObject, shown: bool) -> None:
        """A push on a good wire, after what it keeps, and perhaps a pull."""
        life = self.one(data, self.living)
        self.settle(life)
        if life.child.may_push and self.num_pushes < SIZE:
            self.send(life)
            self.arrive(self.wire.pop())
        if shown:
            self.take_in(life, self.cut())

    @precondition(lambda self: self.living or self.stopped)
    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        self.send_again(self.one(data, [*self.living, *self.stopped]))

    @precondition(lambda self: self.living)
    @rule(data=st.data(), arrives=st.booleans())
    def pull(self, data: st.DataObject, arrives: bool) -> None:
        life = self.one(data, self.living)
        self.snapshots.append((life, self.cut()))
        if arrives:
            self.take_in(*self.snapshots[-1])

    @precondition(lambda self: len(self.living) > 1)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A goodbye: after all it sent was acknowledged."""
        life = self.one(data, self.living)
        self.settle(life)
        self.end(life, lost=False)

    @precondition(lambda self: len(self.living) > 1)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.end(self.one(data, self.living), lost=True)

    @precondition(lambda self: len(self.living) > 1)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """The hub takes it for dead; later it goes on as if nothing had been."""
        life = self.one(data, self.living)
        self.end(life, lost=True)
        self.stopped.append(life)

    # -- the wire --------------------------------------------------------------------------

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), doubled=st.booleans())
    def deliver(self, data: st.DataObject, doubled: bool) -> None:
        push = self.one(data, self.wire)
        if not doubled:
            self.wire.remove(push)
        self.answers.append((push.life, self.arrive(push)))

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def lose_a_push(self, data: st.DataObject) -> None:
        self.wire.remove(self.one(data, self.wire))

    @precondition(lambda self: self.answers)
    @rule(data=st.data(), lost=st.booleans())
    def answer(self, data: st.DataObject, lost: bool) -> None:
        life, reply = self.one(data, self.answers)
        self.answers.remove((life, reply))
        if not lost and reply.outcome is Outcome.GAP:
            self.send_again(life)
        elif not lost and reply.outcome is Outcome.REFUSED and life in self.stopped:
            self.stopped.remove(life)
            life.child.write_off()
            self.join()

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def receive(self, data: st.DataObject) -> None:
        """A snapshot, an older one perhaps after a newer one."""
        life, held = self.one(data, self.snapshots)
        self.snapshots.remove((life, held))
        self.take_in(life, held)

    # -- the hub ---------------------------------------------------------------------------

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def lose_the_hub(self, data: st.DataObject) -> None:
        """Some answer; the others are stopped. What the lost one sent is dropped, not believed."""
        answering = data.draw(st.lists(st.sampled_from(self.living), unique=True, min_size=1))
        newest = max((life.held for life in answering), key=self.version_of)
        self.hub = Hub.recovered(
            self.hub.options,
            newest.snapshot,
            LAYOUT,
            {life.number: "w" for life in answering},
            epoch=self.hub.epoch + 1,
            born=self.hub.born,
        )
        self.counted = newest.counted
        self.stopped += [life for life in self.living if life not in answering]
        self.living = answering
        self.answers, self.snapshots = [], []
        for life in self.living:
            self.send_again(life)

    # -- what must be so -------------------------------------------------------------------

    @invariant()
    def the_center_is_what_was_acknowledged(self) -> None:
        assert self.hub.vector is not None
        assert self.hub.vector.tolist() == [float(k in self.counted) for k in range(SIZE)]
        assert self.hub.version.count == len(self.counted)

    @invariant()
    def what_a_child_has_not_seen_it_keeps(self) -> None:
        for life in self.living:
            assert set(life.pushes.values()) - life.held.counted <= life.unseen()

    def teardown(self) -> None:
        """Who lives resends until the center has all of it."""
        for life in self.living:
            self.settle(life)
        self.the_center_is_what_was_acknowledged()

    def check(self, push: Push, outcome: Outcome) -> None:
        """By the journal: refused if dead, a gap if an earlier one is missing, and once."""
        pushes, sequence = push.life.pushes, push.header.sequence
        missing = [s for s in range(1, sequence) if pushes[s] not in self.counted]
        if push.life not in self.living:
            assert outcome is Outcome.REFUSED
        elif pushes[sequence] in self.counted:
            assert outcome is Outcome.DUPLICATE
        else:
            assert outcome is (Outcome.GAP if missing else Outcome.APPLIED)

    # -- the world -------------------------------------------------------------------------

    def send(self, life: Life) -> None:
        number, self.num_pushes = self.num_pushes, self.num_pushes + 1
        header = PushHeader(
            incarnation=life.number,
            sequence=life.child.sequence + 1,
            computed_from=life.held.snapshot.header.version,
            steps=1,
        )
        life.pushes[header.sequence] = number
        life.child.retain(header, ONE_HOT[number])
        self.wire.append(Push(life, header, ONE_HOT[number]))

    def send_again(self, life: Life) -> None:
        for header, d in life.child.retained:
            assert isinstance(d, Tensor)
            self.wire.append(Push(life, header, d))

    def arrive(self, push: Push) -> PushReply:
        reply = self.hub.apply(push.header, push.d)
        self.check(push, reply.outcome)
        if reply.outcome is Outcome.APPLIED:
            self.counted |= {push.life.pushes[push.header.sequence]}
        return reply

    def settle(self, life: Life) -> None:
        """What it keeps arrives in order: then the hub has all it ever sent."""
        for header, d in list(life.child.retained):
            assert isinstance(d, Tensor)
            self.arrive(Push(life, header, d))
        assert set(life.pushes.values()) <= self.counted

    def end(self, life: Life, *, lost: bool) -> None:
        self.hub.dismiss(life.number, lost=lost)
        self.living.remove(life)

    def cut(self) -> Held:
        return Held(self.hub.snapshot(), self.counted)

    def take_in(self, life: Life, held: Held) -> None:
        life.child.shown(held.snapshot.header)
        life.held = max(life.held, held, key=self.version_of)

    @staticmethod
    def version_of(held: Held) -> Version:
        return held.snapshot.header.version

    @staticmethod
    def one(data: st.DataObject, choices: Sequence[Any]) -> Any:
        return data.draw(st.sampled_from(choices))
