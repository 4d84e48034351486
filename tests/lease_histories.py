"""Random histories of a lease book, its hub and its workers, each of which may be lost.

What the hub has and what workers hold is kept here, position by position; the book is held
against that.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ray_easgd.leases import LeaseBook
from ray_easgd.progress import Progress
from ray_easgd.protocol import Interval

SIZE, TOTAL, BATCH = 8, 20, 4
WORKERS = ("a", "b", "c")

workers = st.sampled_from(WORKERS)
Positions = set[tuple[int, int]]


def positions(intervals: Iterable[Interval]) -> Positions:
    return {(i.epoch, k) for i in intervals for k in range(i.start, i.stop)}


def new_book() -> LeaseBook:
    return LeaseBook(num_samples=SIZE, batch_size=BATCH, total=TOTAL, max_batches=1)


EVERYTHING = positions([Interval(0, 0, 8), Interval(1, 0, 8), Interval(2, 0, 4)])


class LeaseHistories(RuleBasedStateMachine):
    """Workers lease, push, drop and die; words come late; the hub and the book are lost."""

    def __init__(self) -> None:
        super().__init__()
        self.book = new_book()
        self.hub = Progress()
        self.cuts = [Progress()]  # of this hub and those before, which a child may hold
        self.words = [Progress()]  # of this hub
        self.pushes: list[Interval] = []
        self.working: dict[str, list[Interval]] = {name: [] for name in (*WORKERS, "new")}
        self.silent: set[str] = set()  # those the book does not know of yet

    # -- workers ---------------------------------------------------------------------------

    @rule(worker=workers, backup=st.booleans())
    def lease(self, worker: str, backup: bool) -> None:
        if worker not in self.silent:
            self.take(worker, backup=backup)

    @rule(worker=workers, length=st.integers(1, 4))
    def push(self, worker: str, length: int) -> None:
        if self.working[worker]:
            self.deliver(self.cut_off(worker, length))

    @precondition(lambda self: self.pushes)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """A hub may not have it, or no longer, or long since."""
        self.deliver(data.draw(st.sampled_from(self.pushes)))

    @rule(worker=workers)
    def drop(self, worker: str) -> None:
        """Non-finite numbers: the steps are taken back."""
        if self.working[worker] and worker not in self.silent:
            self.book.give_back([self.cut_off(worker, 3)])

    @rule(worker=workers)
    def die(self, worker: str) -> None:
        self.working[worker].clear()
        self.silent.discard(worker)
        held = self.held_by(worker)
        self.book.release(worker)
        assert not self.held_by(worker)
        assert held - positions(self.book.progress.intervals()) <= self.to_hand_out()

    # -- words -----------------------------------------------------------------------------

    @rule()
    def hear(self) -> None:
        self.words.append(self.hub.copy())
        self.book.observe(self.words[-1])

    @rule(data=st.data())
    def hear_late(self, data: st.DataObject) -> None:
        self.book.observe(data.draw(st.sampled_from(self.words)))

    # -- losses ----------------------------------------------------------------------------

    @rule(data=st.data())
    def lose_the_hub(self, data: st.DataObject) -> None:
        """Its successor has an older cut, perhaps one that the book has not heard of."""
        self.hub = data.draw(st.sampled_from(self.cuts)).copy()
        self.words = [self.hub.copy()]
        queued = positions(self.book._returned)
        self.book.rebase(self.hub)
        held = positions(lease for worker in self.working for lease in self.leases_of(worker))
        assert not (positions(self.book._returned) - queued) & held
        assert positions(self.book.progress.intervals()) == positions(self.hub.intervals())

    @rule(silent=st.sets(workers), strange=st.booleans(), dead=st.none() | workers)
    def lose_the_book(self, silent: set[str], strange: bool, dead: str | None) -> None:
        """All workers but the ``silent`` say at once what they hold; one is perhaps lost with it.

        What it pushes before it speaks the book hears first from the hub.
        """
        if dead is not None:
            self.working[dead].clear()
        self.book = new_book()
        self.words = [self.hub.copy()]
        self.book.resume(self.hub)
        self.silent = set(silent)
        for worker in sorted(set(WORKERS) - silent):
            self.say(worker, strange=strange)
        known = positions(i for w in WORKERS if w not in silent for i in self.working[w])
        assert not known & self.to_hand_out(), "it would be handed out again"
        for worker in sorted(silent):
            self.push(worker, 3)
        if silent:
            self.hear()
            self.lease(min(set(WORKERS) - silent, default="new"), backup=False)

    @precondition(lambda self: self.silent)
    @rule()
    def speak_up(self) -> None:
        for worker in sorted(self.silent):
            self.say(worker)
        self.silent.clear()

    @invariant()
    def nothing_is_lost(self) -> None:
        trained = positions(self.book.progress.intervals())
        held = {p for worker in self.working for p in self.held_by(worker)}
        assert trained | held | self.to_hand_out() == EVERYTHING
        assert trained <= positions(self.hub.intervals()), "the hub does not have that"
        assert self.book.done is (trained == EVERYTHING)

    def teardown(self) -> None:
        """Whoever holds something has stopped; one survivor brings the run to its end."""
        self.working["survivor"] = []
        self.book.observe(self.hub)
        for _ in range(2 * len(EVERYTHING)):
            if self.take("survivor", backup=True) is None:
                break
            self.deliver(self.cut_off("survivor", SIZE))
            self.book.observe(self.hub)
        assert self.book.done
        assert positions(self.hub.intervals()) == EVERYTHING

    # -- the world -------------------------------------------------------------------------

    def take(self, worker: str, *, backup: bool) -> Interval | None:
        lease = self.book.lease(worker, backup=backup)
        if lease is not None:
            found = positions([lease])
            assert found
            assert found <= EVERYTHING - positions(self.book.progress.intervals())
            assert len(found) < 2 * BATCH
            self.working[worker].append(lease)
        return lease

    def deliver(self, interval: Interval) -> None:
        self.hub.add([interval])
        self.pushes.append(interval)
        self.cuts.append(self.hub.copy())

    def cut_off(self, worker: str, length: int) -> Interval:
        """What the worker has stepped on, of the first that it holds."""
        first = self.working[worker].pop(0)
        middle = min(first.stop, first.start + length)
        if middle < first.stop:
            self.working[worker].insert(0, Interval(first.epoch, middle, first.stop))
        return Interval(first.epoch, first.start, middle)

    def say(self, worker: str, *, strange: bool = False) -> None:
        """Tell the book what a worker holds; perhaps more than that, which is not of the data."""
        nowhere = [Interval(7, 0, 4), Interval(2, 9, 3), Interval(-1, 0, 4), Interval(2, 4, 8)]
        leases = self.working[worker]
        self.book.adopt(worker, [*leases, *leases, *nowhere] if strange else leases)
        trained = positions(self.book.progress.intervals())
        assert positions(leases) - trained <= self.held_by(worker) <= EVERYTHING

    def leases_of(self, worker: str) -> list[Interval]:
        holder = self.book._holders.get(worker)
        return list(holder.leases) if holder else []

    def held_by(self, worker: str) -> Positions:
        return positions(self.leases_of(worker))

    def to_hand_out(self) -> Positions:
        """What is in the queue, and what is still fresh."""
        there = (self.book._next.epoch, self.book._next.start)
        fresh = {p for p in EVERYTHING if p >= there}
        return fresh | positions(self.book._returned)
