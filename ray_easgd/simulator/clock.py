"""A virtual clock: things happen in the order of their times, and ties in the order they came."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

Action = Callable[[], None]


class Clock:
    """A seeded run has no other source of order, so the same seed gives the same trace."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._coming: list[tuple[float, int, Action]] = []
        self._ticket = count()

    def after(self, delay_s: float, action: Action) -> None:
        """Let ``action`` happen ``delay_s`` seconds from now."""
        heapq.heappush(self._coming, (self.now_s + delay_s, next(self._ticket), action))

    @property
    def next_s(self) -> float:
        """When the next thing happens; infinity when nothing is left to happen."""
        return self._coming[0][0] if self._coming else float("inf")

    def advance(self) -> bool:
        """Let the next thing happen; False when nothing is left to happen."""
        if not self._coming:
            return False
        self.now_s, _, action = heapq.heappop(self._coming)
        action()
        return True
