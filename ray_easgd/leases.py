"""The lease queue: an epoch's permutation handed out in ranges, at least once each.

A pure machine. A *lease* is a range of one epoch given to one worker; it is acknowledged by the
pushes that carry its steps, as the hub reports them (``Progress``). Epochs flow into each other,
so nobody waits at an epoch's end. What a lost worker held goes back to the queue. When nothing is
left to hand out, what others still hold is issued again as a backup, and the first
acknowledgement wins: so a stopped worker cannot hold the end of a run either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from ray_easgd.progress import Progress
from ray_easgd.protocol import Interval


@dataclass(slots=True)
class _Holder:
    leases: deque[Interval] = field(default_factory=deque)


class LeaseBook:
    """Hands out ``total`` samples (None: without end) of a data set of ``num_samples``.

    Ranges are multiples of ``batch_size`` where the epoch allows, at most ``max_batches`` of them,
    and shrink towards the end (guided self-scheduling), so that the last ones are short.
    """

    def __init__(
        self, *, num_samples: int, batch_size: int, total: int | None, max_batches: int = 16
    ) -> None:
        self.num_samples, self.batch_size, self.total = num_samples, batch_size, total
        self._max_batches = max_batches
        self._next = Interval(0, 0, 0)  # where the queue stands: epoch, and position in start
        self._returned: deque[Interval] = deque()
        self._holders: dict[Hashable, _Holder] = {}
        self._copies: dict[Interval, int] = {}
        self.progress = Progress()

    def lease(self, worker: Hashable, *, backup: bool = True) -> Interval | None:
        """The next range for a worker, or None when there is nothing more it could do.

        Without ``backup`` only what nobody else holds.
        """
        holder = self._holders.setdefault(worker, _Holder())
        lease = self._take_returned() or self._take_fresh()
        if lease is None and backup:
            lease = self._take_backup(worker)
        if lease is not None:
            holder.leases.append(lease)
        return lease

    def give_back(self, intervals: Iterable[Interval]) -> None:
        """Steps on these were dropped before any push carried them."""
        for interval in intervals:
            self._returned.extend(self.progress.missing(interval))

    def extend(self, total: int) -> None:
        """There is more to hand out: another pass over the data."""
        if self.total is not None:
            self.total = max(self.total, total)

    def resume(self, progress: Progress) -> None:
        """Go on where an earlier run of the same data was: before anything is handed out.

        What it had handed out and nobody had trained on comes first.
        """
        assert self._next == Interval(0, 0, 0)
        self.observe(progress)
        last = max(progress.seen, default=0)
        reached = max((stop for _, stop in progress.seen.get(last, ())), default=0)
        gaps = [Interval(e, 0, self._epoch_stop(e)) for e in range(last)]
        self.give_back([*gaps, Interval(last, 0, reached)])
        self._next = Interval(last, reached, reached)

    def rebase(self, progress: Progress) -> None:
        """The hub was lost, and its successor goes on from an older cut: this is its word.

        What only the lost one had goes back to the queue, unless somebody still holds it. No word
        of the lost one may follow: it would count for what nobody has.
        """
        before, self.progress = self.progress, progress.copy()
        kept = Progress()
        kept.add((*self._returned, *(i for h in self._holders.values() for i in h.leases)))
        for trained in before.intervals():
            for lost in self.progress.missing(self._handed_out_of(trained)):
                self._returned.extend(kept.missing(lost))
        self._let_go()

    def adopt(self, worker: Hashable, leases: Iterable[Interval]) -> None:
        """Enter what a worker says it holds: this book has begun anew and does not know.

        It is not handed out any more; what another holds too has two holders. What has been
        trained on, what this worker is known to hold, and what is no part of the data changes
        nothing.
        """
        holder = self._holders.setdefault(worker, _Holder())
        mine, adopted = Progress(), Progress()
        mine.add(holder.leases)
        for lease in map(self._within_data, leases):
            self._pass_over(lease)
            parts = [new for part in self.progress.missing(lease) for new in mine.missing(part)]
            holder.leases.extend(parts)
            mine.add(parts)
            adopted.add(parts)
        self._returned = deque(part for one in self._returned for part in adopted.missing(one))

    def release(self, worker: Hashable) -> None:
        """A worker is gone: what it held and no push has carried goes back to the queue."""
        for lease in self._holders.pop(worker, _Holder()).leases:
            self._returned.extend(self.progress.missing(lease))

    def observe(self, progress: Progress) -> None:
        """Take the hub's word on what has been trained; an older word changes nothing.

        Of shards each word may be older in one and newer in another.
        """
        self.progress.learn(progress)
        self._let_go()

    @property
    def exhausted(self) -> bool:
        """Whether nothing fresh is left: what remains is held by someone, or was returned."""
        return self._peek() is None

    @property
    def done(self) -> bool:
        """Whether everything there was to hand out has been acknowledged."""
        return self.total is not None and self.progress.num_distinct >= self.total

    @property
    def num_held(self) -> int:
        """Leases that somebody has and the hub has not all of."""
        return sum(len(holder.leases) for holder in self._holders.values())

    @property
    def num_returned(self) -> int:
        """Ranges that came back, from the lost or the leaving, and wait to be handed out again."""
        return len(self._returned)

    @property
    def num_missed(self) -> int:
        """Samples of epochs handed out to the end that no push has carried."""
        epochs = [
            Interval(e, 0, self._epoch_stop(e))
            for e in range(self._next.epoch + 1)
            if e < self._next.epoch or self._next.start >= self._epoch_stop(e)
        ]
        return sum(len(i) for e in epochs for i in self.progress.missing(e))

    def _epoch_stop(self, epoch: int) -> int:
        """Where an epoch ends: the last one may be cut by ``total``."""
        if self.total is None:
            return self.num_samples
        return max(0, min(self.num_samples, self.total - epoch * self.num_samples))

    def _let_go(self) -> None:
        """Nobody holds a lease any more that all of has been trained on.

        In any order: of one that was lost with a center nobody hears again.
        """
        for holder in self._holders.values():
            holder.leases = deque(one for one in holder.leases if self.progress.missing(one))

    def _handed_out_of(self, interval: Interval) -> Interval:
        """What the queue stands behind; the rest will be fresh."""
        if interval.epoch < self._next.epoch:
            return interval
        reached = self._next.start if interval.epoch == self._next.epoch else 0
        return Interval(interval.epoch, interval.start, min(interval.stop, reached))

    def _within_data(self, interval: Interval) -> Interval:
        stop = min(interval.stop, self._epoch_stop(interval.epoch)) if interval.epoch >= 0 else 0
        return Interval(interval.epoch, max(0, interval.start), stop)

    def _pass_over(self, lease: Interval) -> None:
        """Let the queue stand behind a lease: what it had not reached was handed out once."""
        while (rest := self._peek()) is not None and lease.start < lease.stop:
            stop = min(rest.stop, lease.stop) if rest.epoch == lease.epoch else rest.stop
            if rest.epoch > lease.epoch or rest.start >= stop:
                return
            self._returned.append(Interval(rest.epoch, rest.start, stop))
            self._next = Interval(rest.epoch, stop, stop)

    def _take_returned(self) -> Interval | None:
        while self._returned:
            parts = self.progress.missing(self._returned.popleft())
            if parts:
                lease = self._cut(parts[0], self._max_batches)
                rest = Interval(lease.epoch, lease.stop, parts[0].stop)
                self._returned.extendleft(reversed([rest, *parts[1:]] if rest else parts[1:]))
                return lease
        return None

    def _peek(self) -> Interval | None:
        """What is left of the epoch the queue stands in, or the whole next one."""
        epoch, start = self._next.epoch, self._next.start
        if start >= self._epoch_stop(epoch):
            epoch, start = epoch + 1, 0
        rest = Interval(epoch, start, self._epoch_stop(epoch))
        return rest if rest.start < rest.stop else None

    def _take_fresh(self) -> Interval | None:
        while (rest := self._peek()) is not None:
            lease = self._cut(rest, self._num_batches())
            self._next = Interval(lease.epoch, lease.stop, lease.stop)
            if parts := self.progress.missing(lease):  # a book begun anew may hear of it first
                self._returned.extendleft(reversed(parts[1:]))
                return parts[0]
        return None

    def _cut(self, rest: Interval, num_batches: int) -> Interval:
        """Its first batches; no tiny one is left over, as BatchNorm cannot take one sample."""
        stop = min(rest.stop, rest.start + num_batches * self.batch_size)
        if rest.stop - stop < self.batch_size // 2:
            stop = rest.stop
        return Interval(rest.epoch, rest.start, stop)

    def _num_batches(self) -> int:
        workers = max(1, len(self._holders))
        handed_out = self._next.epoch * self.num_samples + self._next.start
        left = self.num_samples if self.total is None else self.total - handed_out
        return max(1, min(self._max_batches, left // (self.batch_size * workers * 4)))

    def _take_backup(self, worker: Hashable) -> Interval | None:
        """Something only others hold, unfinished: what has the fewest holders, the newest first.

        The newest, because its holder has most likely not begun it.
        """
        mine = self._holders[worker].leases
        theirs = [
            lease
            for other, holder in self._holders.items()
            for lease in reversed(holder.leases if other != worker else ())
            if not any(map(lease.overlaps, mine))
        ]
        for lease in sorted(theirs, key=lambda one: self._copies.get(one, 0)):
            if parts := self.progress.missing(lease):
                self._copies[lease] = self._copies.get(lease, 0) + 1
                self._returned.extend(parts[1:])
                return parts[0]
        return None
