"""The lease book's rules, each taken out: some history must notice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ray_easgd.leases import LeaseBook, _Holder
from ray_easgd.progress import Progress
from ray_easgd.protocol import Interval
from tests.histories import Mutant

BOOK: Any = LeaseBook
RELEASE, GIVE_BACK, REBASE, ADOPT = BOOK.release, BOOK.give_back, BOOK.rebase, BOOK.adopt
RESUME, FRESH, CUT, EXHAUSTED = BOOK.resume, BOOK._take_fresh, BOOK._cut, BOOK.exhausted


def without(rule: str, name: str, instead: Callable[..., Any] | property) -> Mutant:
    return Mutant(rule, LeaseBook, name, instead)


def release_nothing(self: Any, worker: str) -> None:
    self._holders.pop(worker, None)


def release_all_but_the_first(self: Any, worker: str) -> None:
    for lease in list(self._holders.pop(worker, _Holder()).leases)[1:]:
        self._returned.extend(self.progress.missing(lease))


def believe(self: Any, progress: Progress) -> None:
    self.progress = progress.copy()
    self._let_go()


def rebase_over_what_is_held(self: Any, progress: Progress) -> None:
    holders, self._holders = self._holders, {}
    REBASE(self, progress)
    self._holders = holders


def adopt_only_the_queue(self: Any, worker: str, leases: Any) -> None:
    ADOPT(self, worker, [lease for lease in leases if self._handed_out_of(lease) == lease])


def adopt_and_hand_out(self: Any, worker: str, leases: Any) -> None:
    queue = deque(self._returned)
    ADOPT(self, worker, leases)
    self._returned.extend(queue)


def adopt_without_a_holder(self: Any, worker: str, leases: Any) -> None:
    ADOPT(self, worker, leases)
    self._holders[worker] = _Holder()


def adopt_anything(self: Any, worker: str, leases: Any) -> None:
    self._holders.setdefault(worker, _Holder()).leases.extend(leases)
    ADOPT(self, worker, leases)


def jump_over(self: Any, lease: Interval) -> None:
    there = (self._next.epoch, self._next.start)
    if lease.start < lease.stop and there < (lease.epoch, lease.stop):
        self._next = Interval(lease.epoch, lease.stop, lease.stop)


def resume_at_the_last(self: Any, progress: Progress) -> None:
    RESUME(self, progress)
    self._returned.clear()


def first_part_only(self: Any) -> Any:
    while self._returned:
        if parts := self.progress.missing(self._returned.popleft()):
            return self._cut(parts[0], self._max_batches)
    return None


def trained_or_not(self: Any) -> Any:
    return self._returned.popleft() if self._returned else None


def fresh_or_not(self: Any) -> Interval | None:
    if (rest := self._peek()) is None:
        return None
    lease: Interval = CUT(self, rest, self._num_batches())
    self._next = Interval(lease.epoch, lease.stop, lease.stop)
    return lease


def let_go_early(self: Any) -> None:
    for holder in self._holders.values():
        if holder.leases and self.progress.missing(holder.leases[0]) != [holder.leases[0]]:
            holder.leases.popleft()


LEASE_MUTANTS = [
    without("what the dead held is returned", "release", release_nothing),
    without("all of it", "release", release_all_but_the_first),
    without("dropped steps are returned", "give_back", lambda self, intervals: None),
    without("an old word takes nothing back", "observe", believe),
    without("a recovered hub has only what it has", "rebase", LeaseBook.observe),
    without("what a recovered hub lacks is returned", "rebase", believe),
    without("unless somebody holds it", "rebase", rebase_over_what_is_held),
    without("what a worker holds is adopted", "adopt", lambda self, worker, leases: None),
    without("also what was fresh", "adopt", adopt_only_the_queue),
    without("and not handed out", "adopt", adopt_and_hand_out),
    without("and held", "adopt", adopt_without_a_holder),
    without("and what is no data is not", "_within_data", lambda self, interval: interval),
    without("what is passed over is returned", "_pass_over", jump_over),
    without("a resumed book knows its gaps", "resume", resume_at_the_last),
    without("all parts of the returned", "_take_returned", first_part_only),
    without("nothing that was trained on is returned", "_take_returned", trained_or_not),
    without("nothing that was trained on is fresh", "_take_fresh", fresh_or_not),
    without("leases are short", "_cut", lambda self, rest, num_batches: rest),
    without("a stopped worker is backed up", "_take_backup", lambda self, worker: None),
    without("a lease is held to its end", "_let_go", let_go_early),
    without("done is trained, not handed out", "done", EXHAUSTED),
]
