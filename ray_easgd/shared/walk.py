"""A walk over the stripes of a shared vector, each under its lock.

One core does not fill the memory bus. Where the machine has more of them than children that
exchange, a walk has several hands: each takes the next part from one list, so one that finds no
processor holds nobody up. A part is one stripe, as small a piece as others can be kept from; a
child that nobody shares the vector with takes many stripes at once, for between two parts a hand
waits for the interpreter's lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ray_easgd.shared.passes import Passed
from ray_easgd.shared.stripes import Stripes

Visit = Callable[[int, int], Passed]
Part = tuple[int, int]
"""A stripe, and how many from there on."""

_GOLDEN = 0.6180339887498949
_MOST_HANDS = 4
_LEAST_SHARE = 1 << 20
"""Elements of each hand: for fewer the waking of a thread takes longer than it saves."""
FEW_PARTS = 4


@dataclass(slots=True)
class Walk:
    """What one walk has applied so far; ``passed_over`` are parts that somebody else had."""

    squared_norm: float = 0.0
    checksum: float = 0.0
    num_applied: int = 0
    is_finite: bool = True
    missed: list[tuple[int, int]] = field(default_factory=list)
    passed_over: list[Part] = field(default_factory=list)

    def take_in(self, other: Walk) -> None:
        """What another hand did."""
        self.squared_norm += other.squared_norm
        self.checksum += other.checksum
        self.num_applied += other.num_applied
        self.is_finite &= other.is_finite
        self.missed += other.missed
        self.passed_over += other.passed_over


class Walker:
    """Walks for one child, who has that ``row``. For one thread at a time."""

    def __init__(self, stripes: Stripes, row: int) -> None:
        self._stripes = stripes
        num = len(stripes.bounds)
        first = int(row * _GOLDEN % 1.0 * num)  # far from other rows' first, however many there are
        self._stripe_by_stripe: list[Part] = [(k, 1) for k in (*range(first, num), *range(first))]
        self._in_parts: dict[int, list[Part]] = {}
        self._others: ThreadPoolExecutor | None = None
        self._has_stopped = False

    def order(self, num_parts: int | None) -> list[Part]:
        """All stripes, in about so many parts; None: one by one."""
        if num_parts is None:
            return self._stripe_by_stripe
        if num_parts not in self._in_parts:
            self._in_parts[num_parts] = self._taken_together(num_parts)
        return self._in_parts[num_parts]

    def walk(self, visit: Visit, hands: int = 1, num_parts: int | None = None) -> Walk:
        """All stripes that are to be had, those passed over once more in the end. None is, after
        one that was not finite. Each part is under one lock, a busy one is tried by its stripes."""
        self._has_stopped, order = False, self.order(num_parts)
        whole = self._by_many(visit, hands, order) if hands > 1 else self._go(visit, order)
        again, whole.passed_over = whole.passed_over, []
        for k in (k for first, count in again for k in range(first, first + count)):
            if not self._visited(k, 1, visit, whole):
                whole.missed.append(self._stripes.bounds[k])
        return whole

    def close(self) -> None:
        """Let the other hands go."""
        if self._others is not None:
            self._others.shutdown()
            self._others = None

    def _taken_together(self, num: int) -> list[Part]:
        order = [k for k, _ in self._stripe_by_stripe]
        each, wrap = -(-len(order) // num), order.index(0)
        runs = [order[:wrap], order[wrap:]] if wrap else [order]
        return [
            (run[at], len(run[at : at + each])) for run in runs for at in range(0, len(run), each)
        ]

    def _by_many(self, visit: Visit, hands: int, order: list[Part]) -> Walk:
        """No hand is at work any more when it ends, also by an exception."""
        if self._others is None:
            self._others = ThreadPoolExecutor(_MOST_HANDS - 1, thread_name_prefix="exchange")
        parts = iter(order)
        helping = [self._others.submit(self._go, visit, parts) for _ in range(hands - 1)]
        try:
            whole = self._go(visit, parts)
        finally:
            self._has_stopped |= any(True for _ in parts)  # an exception left some
            done = [one for one in helping if not one.cancel()]
            _wait(done)
        for one in done:
            whole.take_in(one.result())
        return whole

    def _go(self, visit: Visit, parts: Iterable[Part]) -> Walk:
        walk = Walk()
        for part in parts:
            if not self._visited(*part, visit, walk):
                walk.passed_over.append(part)
        return walk

    def _visited(self, first: int, count: int, visit: Visit, walk: Walk) -> bool:
        """Whether these stripes were to be had."""
        if self._has_stopped or not self._stripes.try_lock(first, count):
            return False
        start, stop = self._stripes.bounds[first][0], self._stripes.bounds[first + count - 1][1]
        try:
            reached, squared_norm, checksum = visit(start, stop)
        finally:
            self._stripes.unlock(first, count)
        walk.squared_norm += squared_norm
        walk.checksum += checksum
        walk.num_applied += reached - start
        if reached < stop:
            walk.is_finite, self._has_stopped = False, True
            walk.missed.append((reached, stop))
        return True


def num_hands(n: int, children: int) -> int:
    """For a vector of ``n`` elements, where so many children exchange on this machine."""
    return max(1, min(_MOST_HANDS, n // _LEAST_SHARE, num_cores() // max(1, children)))


def num_parts(hands: int, children: int) -> int | None:
    """That a walk takes the stripes in: two for each hand of a child that is alone."""
    return max(FEW_PARTS, 2 * hands) if children <= 1 else None


@lru_cache(maxsize=1)
def num_cores() -> int:
    """That this process may use, by its affinity and its container's share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    with suppress(OSError, ValueError):  # "max" is no number: no limit
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        cores = min(cores, max(1, quota // period))
    return cores


def _wait(futures: Iterable[Future[Walk]]) -> None:
    for future in futures:
        future.exception()
