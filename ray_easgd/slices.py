"""A tie whose vector is exchanged in slices, each an edge of its own: with its own hub, version,
sequence, clock and replay.

Fragments take turns, so that peak traffic falls with their number; shards lie in different
processes and go at the same time. One slice is the plain tie.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from torch import Tensor

from ray_easgd.algorithms.steps import LocalStep
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticCounts, ElasticOptions
from ray_easgd.errors import BadConfig
from ray_easgd.link import Link
from ray_easgd.one_way import kind_of_tie
from ray_easgd.parameters import ParameterVector
from ray_easgd.ports import DataBook, NoData, Reporter
from ray_easgd.protocol import Interval


def cut(n: int, shards: int = 1, fragments: int = 1) -> list[tuple[int, int]]:
    """Contiguous ranges [start, stop) of nearly equal size, all fragments of a shard in a row.

    BadConfig where there are fewer elements than slices.
    """
    if n < shards * fragments:
        key, parts = max(("center.shards", shards), ("exchange.fragments", fragments), key=_second)
        raise BadConfig(
            key, parts, f"the model has {n} parameters, too few for {shards * fragments} slices",
            f"Set {key}=1.",
        )  # fmt: skip
    return [
        (start + lower, start + upper)
        for start, stop in _even(n, shards)
        for lower, upper in _even(stop - start, fragments)
    ]


def _second(pair: tuple[str, int]) -> int:
    return pair[1]


def _even(n: int, parts: int) -> list[tuple[int, int]]:
    return [(n * k // parts, n * (k + 1) // parts) for k in range(parts)]


class Slices:
    """One worker's ties, a link each, over ranges of one vector; ``links`` shard by shard.

    ``stays``: it begins where its vector is, not at the center.

    The data behind its steps goes with a push once *every* slice has sent what they did. Where a
    slice's hub then refuses its part, that part alone is lost (``new_life`` says how much).
    """

    def __init__(
        self,
        vector: ParameterVector,
        links: Sequence[Link],
        options: ElasticOptions,
        reporter: Reporter,
        *,
        shards: int = 1,
        name: str = "worker",
        local_step: LocalStep | None = None,
        data: DataBook | None = None,
        stays: bool = False,
    ) -> None:
        self.vector = vector
        fragments = len(links) // shards
        self._book = _Book(data or NoData(), len(links))
        self._ties: list[Elastic] = []
        for k, (start, stop) in enumerate(cut(vector.flat.numel(), shards, fragments)):
            phase = options.period * (k % fragments) // fragments
            self._ties.append(
                kind_of_tie(options.algorithm)(
                    ParameterVector(vector.flat[start:stop], vector.layout),
                    links[k],
                    replace(options, phase=phase),
                    reporter,
                    name=name,
                    local_step=local_step,
                    data=_Page(self._book, k),
                    stays=stays,
                )
            )

    @property
    def clock(self) -> int:
        """Gradient steps taken: the local clock."""
        return self._ties[0].clock

    @property
    def counts(self) -> ElasticCounts:
        """What all slices together have done; a slice's exchange counts as one."""
        if len(self._ties) == 1:
            return self._ties[0].counts
        every = [tie.counts for tie in self._ties]
        total = {f.name: sum(getattr(c, f.name) for c in every) for f in fields(ElasticCounts)}
        return ElasticCounts(**total)

    @property
    def waiting(self) -> bool:
        """Whether some slice has to wait for others before the next step; only in rounds."""
        return any(tie.waiting for tie in self._ties)

    def step(self, loss: Tensor | float | None = None) -> None:
        """A step boundary: exchange what is due."""
        if len(self._ties) == 1:
            self._ties[0].step(loss)
            return
        restarts = [tie.counts.restarts for tie in self._ties]
        for tie in self._ties:
            tie.step(loss)
        fresh = [tie.counts.restarts > n for tie, n in zip(self._ties, restarts, strict=True)]
        if any(fresh):  # the others' numbers are of the same gradients
            for tie, is_fresh in zip(self._ties, fresh, strict=True):
                if not is_fresh:
                    tie.return_to_center()

    def set_period(self, period: int) -> None:
        """From the next exchange on; in steps."""
        for k, tie in enumerate(self._ties):
            phase = period * k // len(self._ties)
            tie.options = replace(tie.options, period=period, phase=phase)

    def settle(self) -> None:
        """Block until no slice is ``waiting``."""
        for tie in self._ties:
            tie.settle()

    def flush(self) -> None:
        """Bring everything done so far to the hub, and wait until it has it."""
        for tie in self._ties:
            tie.flush()

    def finish(self) -> None:
        """The last exchange, and goodbye."""
        self.flush()
        for tie in self._ties:
            tie.link.leave()


class _Book:
    """Which data still has to be shown by which slices."""

    def __init__(self, book: DataBook, num_slices: int) -> None:
        self._book = book
        self._rounds = [0] * num_slices  # entries of the log that this slice has pushed
        self._log: deque[tuple[Interval, ...]] = deque()
        self._begin = 0  # number of the log's first entry

    def take(self, k: int) -> tuple[Interval, ...]:
        """What slice ``k``'s push completes: all slices have now pushed what these steps did."""
        if taken := self._book.take_progress():
            self._log.append(taken)
        self._rounds[k] = self._begin + len(self._log)
        complete: list[Interval] = []
        while self._log and self._begin < min(self._rounds):
            complete.extend(self._log.popleft())
            self._begin += 1
        return tuple(complete)

    def give_back(self, intervals: tuple[Interval, ...]) -> None:
        pending = tuple(i for entry in self._log for i in entry)
        self._begin += len(self._log)
        self._log.clear()
        self._book.give_back(intervals + pending)


@dataclass(frozen=True, slots=True)
class _Page:
    """The data book as one slice sees it."""

    book: _Book
    k: int

    def take_progress(self) -> tuple[Interval, ...]:
        return self.book.take(self.k)

    def take_steps(self, clock: int) -> int:
        return clock

    def give_back(self, intervals: tuple[Interval, ...]) -> None:
        self.book.give_back(intervals)
