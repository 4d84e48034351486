"""The lease queue: an epoch's permutation handed out in ranges, at least once each.

A pure machine. A *lease* is a range of one epoch given to one worker; it is acknowledged by the
pushes that carry its steps, as the hub reports them (``Progress``). Epochs flow into each other,
so nobody waits at an epoch's end. What a lost worker held goes back to the queue. When nothing is
left to hand out, what others still hold is issued again as a backup, and the first
acknowledgement wins: so a stopped worker cannot hold the end of a run either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
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
        self._handed_out = 0
        self._returned: deque[Interval] = deque()
        self._holders: dict[str, _Holder] = {}
        self._copies: dict[Interval, int] = {}
        self.progress = Progress()

    def lease(self, worker: str, *, backup: bool = True) -> Interval | None:
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
        self._handed_out = progress.num_distinct + sum(map(len, self._returned))

    def release(self, worker: str) -> None:
        """A worker is gone: what it held and no push has carried goes back to the queue."""
        for lease in self._holders.pop(worker, _Holder()).leases:
            self._returned.extend(self.progress.missing(lease))

    def observe(self, progress: Progress) -> None:
        """Take the hub's word on what has been trained; an older word changes nothing.

        Of shards each word may be older in one and newer in another.
        """
        self.progress.learn(progress)
        for holder in self._holders.values():
            while holder.leases and not self.progress.missing(holder.leases[0]):
                holder.leases.popleft()

    @property
    def exhausted(self) -> bool:
        """Whether nothing fresh is left: what remains is held by someone, or was returned."""
        return self._peek() is None

    @property
    def done(self) -> bool:
        """Whether everything there was to hand out has been acknowledged."""
        return self.total is not None and self.progress.num_distinct >= self.total

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

    def _take_returned(self) -> Interval | None:
        while self._returned:
            parts = self.progress.missing(self._returned.popleft())
            if parts:
                self._returned.extendleft(reversed(parts[1:]))
                return parts[0]
        return None

    def _peek(self) -> Interval | None:
        """What is left of the epoch the queue stands in, or the whole next one."""
        epoch, start = self._next.epoch, self._next.start
        if start >= self._epoch_stop(epoch):
            epoch, start = epoch + 1, 0
        rest = Interval(epoch, start, self._epoch_stop(epoch))
        return rest if rest.start < rest.stop else None

    def _take_fresh(self) -> Interval | None:
        rest = self._peek()
        if rest is None:
            return None
        epoch, start, end = rest.epoch, rest.start, rest.stop
        stop = min(end, start + self._size())
        if end - stop < self.batch_size // 2:
            stop = end  # no tiny batch at an epoch's end: BatchNorm cannot take one sample
        self._next = Interval(epoch, stop, stop)
        self._handed_out += stop - start
        return Interval(epoch, start, stop)

    def _size(self) -> int:
        workers = max(1, len(self._holders))
        left = self.num_samples if self.total is None else self.total - self._handed_out
        batches = left // (self.batch_size * workers * 4)
        return self.batch_size * max(1, min(self._max_batches, batches))

    def _take_backup(self, worker: str) -> Interval | None:
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
