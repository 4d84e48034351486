"""The hub's side of a shared vector: who has a row, what its children did, and pushes by the hub.

Nothing here waits. Not thread-safe; the shell that owns a hub holds a lock around each call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_easgd.errors import EasgdError
from ray_easgd.protocol import Interval
from ray_easgd.shared import passes
from ray_easgd.shared.board import RING, SEEN, Board
from ray_easgd.shared.passes import NO_SIGNS, Vector, fence
from ray_easgd.shared.segment import Segment
from ray_easgd.shared.stripes import Stripes


class Superseded(EasgdError):
    """A hub that was stopped for so long that another took its children over."""

    def __init__(self, own_epoch: int, epoch: int) -> None:
        super().__init__(own_epoch, epoch)
        self.own_epoch, self.epoch = own_epoch, epoch

    def __str__(self) -> str:
        return f"this hub's epoch is {self.own_epoch}, the segment's {self.epoch}: another has it"


@dataclass(frozen=True, kw_only=True, slots=True)
class RowNews:
    """What one child did since it was last heard of.

    ``sequence``: the exchanges of this life so far, ``exchanges`` the new ones, ``steps`` their
    gradient steps, ``checksum`` the sum of their ``r . d`` and ``scale`` of its magnitudes,
    ``left_out`` the elements that found their stripe busy. ``ended``: the life is over, and this is
    its last news; ``torn``: it ended inside an exchange, which is in the vector in part and in no
    count, so that a ledger has to start anew.
    """

    incarnation: int
    sequence: int
    exchanges: int
    steps: int
    intervals: tuple[Interval, ...]
    checksum: float
    scale: float
    left_out: int
    ended: bool = False
    torn: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """All that was ever collected from a segment, by this hub and those before it."""

    exchanges: int
    steps: int
    left_out: int
    checksum: float
    scale: float


class Hall:
    """A hub's books on a segment, begun by it or taken over from a hub that died.

    Taking over continues where the predecessor's last ``collect`` ended. Data intervals that it had
    collected and told nobody are forgotten, so their samples are trained on again. If it died
    inside its own ``add``, the vector holds part of that push, valid element by element, and its
    debts are gone.

    ``epoch``: of the hub's state, above the segment's; None is the next one.
    """

    def __init__(self, segment: Segment, *, epoch: int | None = None) -> None:
        self._segment = segment
        self._stripes = Stripes(segment)
        self.epoch = self._board.hub_epoch + 1 if epoch is None else epoch
        if self.epoch <= self._board.hub_epoch:
            raise Superseded(self.epoch, self._board.hub_epoch)
        self._board.hub_epoch = self.epoch
        self._debt: Vector | None = None
        self._owed: set[int] = set()

    @property
    def lives(self) -> dict[int, int]:
        """Living incarnations, and their rows."""
        owners = self._board.incarnation
        return {int(owners[row]): int(row) for row in np.flatnonzero(owners > 0)}

    @property
    def applied(self) -> dict[int, int]:
        """The last sequence collected of each living incarnation.

        A snapshot taken after ``collect`` contains all of these.
        """
        seen = self._board.records["sequence"][:, SEEN] - self._board.began
        return {incarnation: int(seen[row]) for incarnation, row in self.lives.items()}

    @property
    def totals(self) -> Totals:
        """What all collects so far add up to."""
        seen = self._board.records[:, SEEN]
        return Totals(
            exchanges=int(seen["sequence"].sum()),
            steps=int(seen["steps"].sum()),
            left_out=int(seen["left_out"].sum()),
            checksum=float(seen["checksum"].sum()),
            scale=float(seen["scale"].sum()),
        )

    @property
    def version_count(self) -> int:
        """Pushes the vector contains, or is owed."""
        return self._board.version_count

    @property
    def num_booked(self) -> int:
        """Pushes that ``collect`` has told of, or that came some other way."""
        return self._board.base_count + self.totals.exchanges

    @property
    def num_owed(self) -> int:
        """Elements of the vector that owe part of a push to a busy stripe."""
        return sum(stop - start for start, stop in (self._stripes.bounds[k] for k in self._owed))

    def admit(self, incarnation: int) -> int | None:
        """Give a new life a row, for its ``Desk``; None if all are taken."""
        self._check()
        if incarnation < 1 or incarnation in self.lives:
            raise ValueError(f"incarnation {incarnation} is not a new life's")
        free = np.flatnonzero(self._board.incarnation == 0)
        if not len(free):
            return None
        row = int(free[0])
        self._board.began[row] = self._board.sequence[row]
        self._board.entered[row] = 0
        fence()
        self._board.incarnation[row] = incarnation
        return row

    def dismiss(self, incarnation: int) -> None:
        """End a life: its next exchange is refused. One it is inside of still counts.

        Its row is free, and its last news told, at the first ``collect`` that finds it outside.
        """
        self._check()
        row = self.lives.get(incarnation)
        if row is not None:
            self._board.incarnation[row] = -incarnation
            fence()

    def collect(self) -> list[RowNews]:
        """What the children did since the last time, and which dismissed lives have ended."""
        self._check()
        board = self._board
        moved = board.sequence != board.records["sequence"][:, SEEN]
        rows = np.flatnonzero((board.incarnation > 0) & moved | (board.incarnation < 0))
        return [news for row in rows if (news := self._collect_row(int(row))) is not None]

    def is_still(self, since: int) -> bool:
        """Whether nobody has exchanged since that version, nor is about it."""
        fence()
        board = self._board
        inside = (board.incarnation > 0) & (board.entered > board.sequence)
        return not inside.any() and board.version_count == since

    def set_rate(self, rate: float) -> None:
        """The moving rate of all exchanges that begin from now on."""
        self._check()
        self._board.moving_rate = rate

    def set_base_count(self, count: int) -> None:
        """Count ``count`` pushes in all that were not applied in place."""
        self._check()
        self._board.base_count = count

    def set_ledger(self, sum_: float) -> None:
        """What ``r . c`` should be but for exchanges in place; a successor goes on from it."""
        self._check()
        self._board.ledger = sum_

    @property
    def ledger(self) -> float:
        """As the hub before has set it."""
        return self._board.ledger

    def set_wake_count(self, count: int) -> None:
        """The version from which on children tell the hub of exchanges."""
        self._check()
        self._board.wake_count = count

    def add(self, d: Vector) -> bool:
        """``c <- c + d``, a push that came some other way. ``d`` is float32 of shape (n,).

        What a busy stripe does not take becomes a debt, which ``settle`` delivers. False if ``d``
        is not finite, which its child should have seen: the blocks before are applied.
        """
        self._check()
        if d.shape != (self._board.n,):
            raise ValueError(f"d has shape {d.shape}, the vector ({self._board.n},)")
        return all(self._put(d, k) for k in range(len(self._stripes.bounds)))

    def settle(self) -> int:
        """Deliver what is owed to stripes that are free now; returns the elements still owed."""
        self._check()
        for k in sorted(self._owed):
            if self._debt is not None and self._stripes.try_lock(k):
                start, stop = self._stripes.bounds[k]
                try:
                    passes.add(self._debt, self._vector, start, stop, NO_SIGNS)
                finally:
                    self._stripes.unlock(k)
                self._debt[start:stop] = 0
                self._owed.remove(k)
        return self.num_owed

    def snapshot(self, out: Vector | None = None) -> Vector:
        """A copy of the vector and what it is owed, valid element by element.

        With every push that was in when it began, and perhaps part of some that came after.
        """
        if out is None:
            out = np.empty_like(self._vector)
        np.copyto(out, self._vector)
        for k in self._owed:
            start, stop = self._stripes.bounds[k]
            assert self._debt is not None
            out[start:stop] += self._debt[start:stop]
        return out

    def close(self) -> None:
        """Let go of the locks."""
        self._stripes.close()

    # Asked for each time: a view kept here would keep the memory after the segment is closed.
    @property
    def _board(self) -> Board:
        return self._segment.board

    @property
    def _vector(self) -> Vector:
        return self._segment.vector

    def _check(self) -> None:
        if self._board.hub_epoch != self.epoch:
            raise Superseded(self.epoch, self._board.hub_epoch)

    def _put(self, d: Vector, k: int) -> bool:
        """Add one stripe of ``d`` to the vector, or to what that is owed. False if not finite."""
        start, stop = self._stripes.bounds[k]
        if not self._stripes.try_lock(k):
            if self._debt is None:
                self._debt = np.zeros_like(self._vector)
            self._owed.add(k)
            return passes.add(d, self._debt, start, stop, NO_SIGNS)[0] == stop
        try:
            return passes.add(d, self._vector, start, stop, NO_SIGNS)[0] == stop
        finally:
            self._stripes.unlock(k)

    def _collect_row(self, row: int) -> RowNews | None:
        """A row's news; None from a dismissed life that is still inside an exchange."""
        if int(self._board.incarnation[row]) > 0:
            return self._news(row)
        if not self._stripes.try_lock_row(row):
            return None
        try:
            news = self._news(row, ended=True)
            fence()
            self._board.incarnation[row] = 0
            return news
        finally:
            self._stripes.unlock_row(row)

    def _news(self, row: int, *, ended: bool = False) -> RowNews:
        """The difference between a row's record and the one last seen, which it becomes."""
        board = self._board
        seen, now = board.records[row, SEEN], board.record(row)[0]
        news = RowNews(
            incarnation=abs(int(board.incarnation[row])),
            sequence=int(now["sequence"] - board.began[row]),
            exchanges=int(now["sequence"] - seen["sequence"]),
            steps=int(now["steps"] - seen["steps"]),
            intervals=_intervals(
                board.rings[row], int(seen["num_intervals"]), int(now["num_intervals"])
            ),
            checksum=float(now["checksum"] - seen["checksum"]),
            scale=float(now["scale"] - seen["scale"]),
            left_out=int(now["left_out"] - seen["left_out"]),
            ended=ended,
            torn=ended and int(board.entered[row]) > int(now["sequence"]),
        )
        fence()  # the intervals are read: their places may be used again
        board.records[row, SEEN] = now
        return news


def _intervals(ring: NDArray[np.int64], start: int, stop: int) -> tuple[Interval, ...]:
    rows = (ring[k % RING] for k in range(start, stop))
    return tuple(Interval(int(epoch), int(a), int(b)) for epoch, a, b in rows)
