"""A child's place at a shared vector: exchanges in place, no call to the hub, no waiting.

An exchange walks over the stripes, each under its lock, and skips those that somebody else has;
it tries them once more at the end, and leaves out what is still busy. What is left out keeps its
distance and goes with the next exchange.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ray_easgd.protocol import Interval, Outcome, Version
from ray_easgd.shared import passes
from ray_easgd.shared.board import RING, SEEN, Board
from ray_easgd.shared.passes import NO_SIGNS, Vector, fence
from ray_easgd.shared.segment import Segment
from ray_easgd.shared.stripes import Stripes
from ray_easgd.shared.walk import Visit, Walk, Walker, num_hands, num_parts

_MOST_SILENCE_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Meeting:
    """One exchange in place.

    ``outcome``: APPLIED; REFUSED, for the hub dismissed this life, and nothing was touched; or
    NOT_FINITE, as the difference was, and only finite blocks before were applied.

    ``sequence`` counts this life's exchanges, ``version_count`` the hub's pushes, this one
    included; ``staleness`` those of others meanwhile. ``squared_norm`` is ``|d|^2`` of what was
    applied, ``num_left_out`` the elements that were not, ``missed`` where they are. ``took_s`` by
    the child's watch.
    """

    outcome: Outcome
    sequence: int
    version_count: int
    staleness: int = 0
    moving_rate: float = 0.0
    squared_norm: float = 0.0
    num_left_out: int = 0
    missed: tuple[tuple[int, int], ...] = ()
    took_s: float = 0.0


class Desk:
    """One life's exchanges. For one thread; ``ledger_seed`` as in ``kernels.Checksum``.

    Every exchange takes the gradient ``steps`` since the last one and the data behind them. The hub
    hears of them with the first exchange that reaches any stripe: until then the desk keeps them.
    An exchange that carried only part of the vector acknowledges all of them, as an elastic one
    carries a fraction anyway, and what it left out follows. One that found *every* stripe busy
    counts as an exchange that did nothing; what those carried can be taken back (``withdraw``). Of
    one that was NOT_FINITE the hub hears no steps and no data, its child being about to start
    again; those are the caller's to give back.

    A call that is interrupted (KeyboardInterrupt) leaves its exchange torn, as a crash would, and
    every later one is refused: the hub tells from the row that its ledger no longer fits.
    """

    def __init__(
        self, segment: Segment, row: int, incarnation: int, ledger_seed: int | None = None
    ) -> None:
        self._segment = segment
        self._row, self.incarnation = row, incarnation
        self._stripes = Stripes(segment)
        self._walker = Walker(self._stripes, row)
        self._num_parts: int | None = None
        self._signs = NO_SIGNS
        if ledger_seed is not None:
            signs = np.random.default_rng(ledger_seed).integers(0, 2, self._board.n, dtype=np.int8)
            self._signs = signs * np.int8(2) - np.int8(1)
        self._silent_until = time.monotonic() + _MOST_SILENCE_S
        self._steps = 0
        self._unreached: list[Interval] = []  # data of exchanges that found every stripe busy
        self._untold: list[Interval] = []  # data of others, for which the row had no room

    def elastic(self, x: Vector, *, steps: int, progress: Iterable[Interval] = ()) -> Meeting:
        """``d = rate (x - c); x <- x - d; c <- c + d``, with the hub's moving rate."""
        self._check(x)
        c, rate, signs = self._vector, self.moving_rate, self._signs
        return self._meet(
            lambda start, stop: passes.elastic(x, c, rate, start, stop, signs),
            steps,
            progress,
            rate=rate,
        )

    def elastic_later(
        self, x: Vector, out: Vector, *, steps: int, progress: Iterable[Interval] = ()
    ) -> Meeting:
        """``d = rate (x - c); c <- c + d; out <- d``. The caller owes ``x <- x - out``.

        Afterwards ``out`` holds what arrived: zero where nothing did.
        """
        self._check(x, out)
        c, rate, signs = self._vector, self.moving_rate, self._signs
        return self._meet(
            lambda start, stop: passes.elastic_later(x, c, rate, out, start, stop, signs),
            steps,
            progress,
            rate=rate,
            arrived=out,
        )

    def take_over(
        self, x: Vector, base: Vector, *, steps: int, progress: Iterable[Interval] = ()
    ) -> Meeting:
        """``d = x - base; c <- c + d; x <- c; base <- c``."""
        self._check(x, base)
        c, signs = self._vector, self._signs
        return self._meet(
            lambda start, stop: passes.take_over(x, base, c, start, stop, signs), steps, progress
        )

    def add(self, d: Vector, *, steps: int, progress: Iterable[Interval] = ()) -> Meeting:
        """``c <- c + d``, but for what was ``missed``."""
        self._check(d)
        c, signs = self._vector, self._signs
        return self._meet(lambda start, stop: passes.add(d, c, start, stop, signs), steps, progress)

    def read(self, out: Vector) -> None:
        """Copy ``c``. Valid element by element; the hub's debts (``Hall.add``) are not in it."""
        np.copyto(out, self._vector)

    def walk_in(self, parts: int) -> None:
        """Take the stripes in about so many parts, each under one lock; a busy one by its stripes.

        Between two of its calls a thread in the background waits for the interpreter's lock, and
        the thread that it takes it from waits too.
        """
        self._num_parts = parts

    @property
    def size(self) -> int:
        """Elements of ``c``."""
        return self._board.n

    @property
    def moving_rate(self) -> float:
        """The rate the hub wants now."""
        return self._board.moving_rate

    @property
    def version_count(self) -> int:
        """Pushes the hub's vector contains now."""
        return self._board.version_count

    @property
    def version(self) -> Version:
        """The hub's, as it is now."""
        return Version(self.hub_epoch, self.version_count)

    def asks_for_word(self) -> bool:
        """Whether the hub is to hear of exchanges now: where it wants to, and every few seconds.

        Who never speaks to it would never learn that it died and that its memory is nobody's.
        """
        board, now = self._board, time.monotonic()
        if board.version_count < board.wake_count and now < self._silent_until:
            return False
        self._silent_until = now + _MOST_SILENCE_S
        return True

    @property
    def hub_epoch(self) -> int:
        """Which life of the hub's state this is; a successor raises it."""
        return self._board.hub_epoch

    @property
    def dismissed(self) -> bool:
        """Whether every exchange from now on would be refused."""
        return self._is_refused(self._board)

    @property
    def pending_steps(self) -> int:
        """Gradient steps that reached no stripe yet."""
        return self._steps

    @property
    def untold(self) -> tuple[Interval, ...]:
        """Data that reached the center and that the hub has not heard of: its row had no room."""
        return tuple(self._untold)

    @property
    def is_told(self) -> bool:
        """Whether the hub hears of all steps and data here when it collects."""
        return not (self._steps or self._unreached or self._untold)

    def pending_progress(self) -> tuple[Interval, ...]:
        """Data the hub has not heard of: its row had no room, or no stripe was free."""
        return tuple(_joined(self._untold + self._unreached))

    def withdraw(self) -> tuple[int, tuple[Interval, ...]]:
        """Take back the steps and the data that reached no stripe: the caller drops them."""
        steps, unreached = self._steps, tuple(self._unreached)
        self._steps, self._unreached = 0, []
        return steps, unreached

    def close(self) -> None:
        """Let go of the locks. The row stays this life's until the hub dismisses it."""
        self._walker.close()
        self._stripes.close()

    # Asked for each time: a view kept here would keep the memory after the segment is closed.
    @property
    def _board(self) -> Board:
        return self._segment.board

    @property
    def _vector(self) -> Vector:
        return self._segment.vector

    def _is_refused(self, board: Board) -> bool:
        """Not this life's row any more, or its last exchange was torn."""
        row = self._row
        mine = board.incarnation[row] == self.incarnation
        return bool(not mine or board.entered[row] > board.sequence[row])

    def _check(self, *vectors: Vector) -> None:
        """The compiled passes look at no bounds."""
        for vector in vectors:
            if vector.shape != (self._board.n,) or vector.dtype != np.float32:
                raise ValueError(
                    f"{vector.dtype} of shape {vector.shape}: the shared vector is float32 of "
                    f"shape ({self._board.n},)"
                )
            if not (vector.flags.c_contiguous and vector.flags.writeable and vector.flags.aligned):
                raise ValueError("the vector must be contiguous, aligned and writable")

    def _meet(
        self,
        visit: Visit,
        steps: int,
        progress: Iterable[Interval],
        *,
        rate: float = 0.0,
        arrived: Vector | None = None,
    ) -> Meeting:
        progress, board, row = list(progress), self._board, self._row
        # Looked at before the lock too: a dismissed life's row may be another's by now, which must
        # not find it locked. Only the hub ever takes another's row, and only to end it.
        if self._is_refused(board) or not self._stripes.try_lock_row(row):
            return self._meeting(Outcome.REFUSED, Walk())
        try:
            if self._is_refused(board):
                return self._meeting(Outcome.REFUSED, Walk())
            before = board.version_count
            board.entered[row] = board.sequence[row] + 1
            walk = self._walk(visit)
            if arrived is not None:
                for start, stop in walk.missed:
                    arrived[start:stop] = 0
            staleness = board.version_count - before
            if walk.is_finite:
                self._steps += steps
                self._unreached = _joined(self._unreached + progress)
            if walk.is_finite or walk.num_applied:
                self._publish(walk)
            board.entered[row] = 0
        finally:
            self._stripes.unlock_row(row)
        outcome = Outcome.APPLIED if walk.is_finite else Outcome.NOT_FINITE
        return self._meeting(outcome, walk, staleness=staleness, rate=rate)

    def _walk(self, visit: Visit) -> Walk:
        children = int(np.count_nonzero(self._board.incarnation > 0))
        hands = num_hands(self._board.n, children)
        return self._walker.walk(visit, hands, self._num_parts or num_parts(hands, children))

    def _meeting(
        self, outcome: Outcome, walk: Walk, *, staleness: int = 0, rate: float = 0.0
    ) -> Meeting:
        board, row = self._board, self._row
        return Meeting(
            outcome=outcome,
            sequence=int(board.sequence[row] - board.began[row]),
            version_count=board.version_count,
            staleness=staleness,
            moving_rate=rate,
            squared_norm=walk.squared_norm,
            num_left_out=board.n - walk.num_applied,
            missed=tuple(walk.missed),
        )

    def _publish(self, walk: Walk) -> None:
        """Tell the hub: what this exchange did, and as much data as its row has room for."""
        steps, num_intervals = 0, 0
        if walk.is_finite and walk.num_applied:
            steps, reached = self.withdraw()
            self._untold = _joined([*self._untold, *reached])
            num_intervals = self._offer() if self._untold else 0
        self._board.publish(
            self._row,
            steps=steps,
            left_out=self._board.n - walk.num_applied if walk.is_finite else 0,
            num_intervals=num_intervals,
            checksum=walk.checksum,
        )
        self._untold = self._untold[num_intervals:]

    def _offer(self) -> int:
        """Write data intervals where the hub is done reading; returns how many had a place."""
        board, row = self._board, self._row
        written = int(board.record(row)["num_intervals"][0])
        room = RING - (written - int(board.records["num_intervals"][row, SEEN]))
        fence()
        for k, interval in enumerate(self._untold[:room]):
            board.rings[row, (written + k) % RING] = interval.epoch, interval.start, interval.stop
        return min(room, len(self._untold))


def _joined(intervals: list[Interval]) -> list[Interval]:
    """The same positions, each as often as before, in as few intervals as touch end to end."""
    joined: list[Interval] = []
    for interval in sorted(intervals):
        last = joined[-1] if joined else None
        if last is not None and (last.epoch, last.stop) == (interval.epoch, interval.start):
            joined[-1] = Interval(last.epoch, last.start, interval.stop)
        else:
            joined.append(interval)
    return joined
