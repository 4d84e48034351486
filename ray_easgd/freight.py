"""What a tie's next push has to carry: the steps since the last one, and the data behind them."""

from __future__ import annotations

from ray_easgd.ports import DataBook
from ray_easgd.protocol import Intervals


class Freight:
    """The account between a tie and its data book. ``pushed_at``: the clock of the last push."""

    def __init__(self, book: DataBook) -> None:
        self._book, self.pushed_at = book, 0
        self._steps = 0  # of what came back
        self._intervals: Intervals = ()

    @property
    def owes(self) -> bool:
        """Whether steps came back that still have to arrive."""
        return self._steps > 0

    def is_empty(self, clock: int) -> bool:
        """Whether everything done up to ``clock`` has been loaded."""
        return clock == self.pushed_at and not self._steps

    def load(self, clock: int) -> tuple[int, Intervals]:
        """The steps and the data of the push that leaves now."""
        steps = self._steps + self._book.take_steps(clock - self.pushed_at)
        intervals = self._intervals + self._book.take_progress()
        self.pushed_at, self._steps, self._intervals = clock, 0, ()
        return steps, intervals

    def take_back(self, steps: int, intervals: Intervals) -> None:
        """They did not arrive, and are still in the vector: the next push carries them."""
        self._steps += steps
        self._intervals = intervals + self._intervals

    def drop(self, clock: int, also: Intervals = ()) -> int:
        """The vector no longer has these steps: their data goes back to the queue, as ``also``.

        Returns how many steps.
        """
        self._book.give_back(also + self._intervals + self._book.take_progress())
        dropped = self._steps + clock - self.pushed_at
        self.pushed_at, self._steps, self._intervals = clock, 0, ()
        return dropped

    def give_back(self, intervals: Intervals) -> None:
        """Somebody has to take the steps on these again."""
        self._book.give_back(intervals)
