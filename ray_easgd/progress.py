"""Which data has been trained on: sets of intervals, exact and small however many samples.

A hub keeps a ``Progress`` and adds each applied push's intervals, so that its vector and its
data position are one cut.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ray_easgd.protocol import Interval


def merge(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Neighbors joined, in the order given."""
    merged: list[Interval] = []
    for interval in intervals:
        last = merged[-1] if merged else None
        if last and last.epoch == interval.epoch and last.stop == interval.start:
            merged[-1] = Interval(last.epoch, last.start, interval.stop)
        else:
            merged.append(interval)
    return tuple(merged)


class IntervalSet:
    """A set of whole numbers, held as disjoint, sorted, non-touching ranges [start, stop)."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges: list[tuple[int, int]] = []
        for start, stop in ranges:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> int:
        """Add a range; returns how many of its numbers were there before."""
        if start >= stop:
            return 0
        # Neighbors that touch are merged too, so a finished epoch is one range.
        low = bisect_left(self._ranges, start, key=lambda r: r[1])
        high = low
        seen = 0
        merged_start, merged_stop = start, stop
        while high < len(self._ranges) and self._ranges[high][0] <= stop:
            a, b = self._ranges[high]
            seen += max(0, min(b, stop) - max(a, start))
            merged_start, merged_stop = min(merged_start, a), max(merged_stop, b)
            high += 1
        self._ranges[low:high] = [(merged_start, merged_stop)]
        return seen

    def missing(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The ranges of [start, stop) that are not in the set."""
        for a, b in self._ranges:
            if a >= stop:
                break
            if b <= start:
                continue
            if a > start:
                yield start, a
            start = b
        if start < stop:
            yield start, stop

    def __len__(self) -> int:
        return sum(b - a for a, b in self._ranges)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalSet) and self._ranges == other._ranges

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"IntervalSet({self._ranges})"


class Progress:
    """Per epoch: the positions trained on, and how many arrived more than once."""

    def __init__(self) -> None:
        self.seen: dict[int, IntervalSet] = {}
        self.repeated: dict[int, int] = {}
        self.num_distinct = 0
        """Samples trained on, an epoch's repetitions left out."""
        self.num_repeated = 0
        """Samples trained on again within one epoch."""

    def add(self, intervals: Iterable[Interval]) -> None:
        """Take in the intervals one applied push carries."""
        for interval in intervals:
            seen = self.seen.setdefault(interval.epoch, IntervalSet())
            again = seen.add(interval.start, interval.stop)
            self.repeated[interval.epoch] = self.repeated.get(interval.epoch, 0) + again
            self.num_repeated += again
            self.num_distinct += max(0, len(interval)) - again

    @classmethod
    def union(cls, parts: Iterable[Progress]) -> Progress:
        """What several hubs have together; an interval that two of them have was repeated."""
        whole = cls()
        for part in parts:
            for epoch, seen in part.seen.items():
                whole.add(Interval(epoch, a, b) for a, b in seen)
                whole.repeated[epoch] = whole.repeated.get(epoch, 0) + part.repeated.get(epoch, 0)
            whole.num_repeated += part.num_repeated
        return whole

    def learn(self, other: Progress) -> None:
        """Take in what another book of the same pushes knows, an older or a newer one."""
        for epoch, seen in other.seen.items():
            for start, stop in seen:
                self.add(self.missing(Interval(epoch, start, stop)))
        for epoch, repeated in other.repeated.items():
            self.repeated[epoch] = max(repeated, self.repeated.get(epoch, 0))
        self.num_repeated = sum(self.repeated.values())

    def by_epoch(self, num_samples: int, total: int | None) -> list[dict[str, int]]:
        """Epoch by epoch, how many samples of a data set were seen ``once``, ``again``, ``never``.

        ``total`` is where the run ends; of an epoch that nothing ends, what it has passed counts.
        """
        rows = []
        for epoch, seen in sorted(self.seen.items()):
            stop = num_samples
            if total is not None:
                stop = min(num_samples, total - epoch * num_samples)
            elif epoch == max(self.seen):
                stop = max((end for _, end in seen), default=0)
            again = min(len(seen), self.repeated.get(epoch, 0))
            never = sum(end - start for start, end in seen.missing(0, stop))
            once = len(seen) - again
            rows.append({"epoch": epoch, "once": once, "again": again, "never": never})
        return rows

    def as_record(self) -> dict[str, Any]:
        """Of JSON's types: per epoch the ranges seen, and how many arrived more than once."""
        return {
            "seen": {str(epoch): [list(r) for r in seen] for epoch, seen in self.seen.items()},
            "repeated": {str(epoch): count for epoch, count in self.repeated.items() if count},
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Progress:
        """What ``as_record`` gave."""
        progress = cls()
        for epoch, ranges in record["seen"].items():
            progress.add(Interval(int(epoch), start, stop) for start, stop in ranges)
        for epoch, count in record["repeated"].items():
            progress.repeated[int(epoch)] = count
            progress.num_repeated += count
        return progress

    def copy(self) -> Progress:
        """As it is now, untouched by what is added later."""
        other = Progress()
        other.seen = {epoch: IntervalSet(ranges) for epoch, ranges in self.seen.items()}
        other.repeated = dict(self.repeated)
        other.num_distinct, other.num_repeated = self.num_distinct, self.num_repeated
        return other

    def intervals(self) -> list[Interval]:
        """What has been trained on, as ranges."""
        return [Interval(epoch, a, b) for epoch, seen in self.seen.items() for a, b in seen]

    def missing(self, interval: Interval) -> list[Interval]:
        """The parts of ``interval`` that no push has carried yet."""
        seen = self.seen.get(interval.epoch, IntervalSet())
        return [
            Interval(interval.epoch, a, b) for a, b in seen.missing(interval.start, interval.stop)
        ]
