"""So many steps a second and no more: a worker that leaves the processor to others."""

from __future__ import annotations

import time
from threading import Event


class Pacer:
    """Spreads steps evenly. Who is late does not hurry afterwards."""

    def __init__(self, steps_per_s: float) -> None:
        self._period_s = 1.0 / steps_per_s
        self._next_at = time.monotonic()

    def wait(self, ended: Event) -> None:
        """Until the next step is due, or the run has ended."""
        now = time.monotonic()
        self._next_at = max(self._next_at + self._period_s, now)
        ended.wait(self._next_at - now)
