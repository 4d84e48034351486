"""The live guard against divergence: a training loss that has blown up, and stays there.

Non-finite numbers are met by the worker itself (``elastic.py``); this is about finite ones.
"""

from __future__ import annotations

import math

FIRST = 5
"""Values whose mean is the loss that training started from."""

PATIENCE = 10
"""Values in a row that have to be too high: a spike passes."""

_OVER_START, _OVER_BEST = 2.0, 10.0


class DivergenceGuard:
    """Fed with the fleet's mean training loss whenever it is looked at.

    ``diverged`` holds once ``PATIENCE`` values in a row were above twice the loss that training
    started from, and above ten times the best: a model that begins well trained may get a little
    worse, and one that begins with nothing may come back to where it was. A loss that starts at
    zero or below says nothing about scale, and is not judged.
    """

    def __init__(self) -> None:
        self.start, self.best, self.last = math.nan, math.inf, math.nan
        self._first: list[float] = []
        self._in_a_row = 0

    def see(self, loss: float | None) -> None:
        """One look; the same value again, as where nobody has exchanged since, is no news."""
        if loss is None or math.isnan(loss) or loss == self.last:
            return
        self.last = loss
        if len(self._first) < FIRST:
            self._first.append(loss)
            self.start = self.best = sum(self._first) / len(self._first)
            return
        self._in_a_row = self._in_a_row + 1 if loss > self.limit else 0
        self.best = min(self.best, loss)

    @property
    def limit(self) -> float:
        """The loss above which training has gone astray; infinite while that is not known."""
        if len(self._first) < FIRST or min(self.best, *self._first) <= 0:
            return math.inf
        return max(_OVER_START * self.start, _OVER_BEST * self.best)

    @property
    def in_doubt(self) -> bool:
        """Whether the last value was above the limit."""
        return self._in_a_row > 0

    @property
    def diverged(self) -> bool:
        """Whether it has blown up, and stays there."""
        return self._in_a_row >= PATIENCE
