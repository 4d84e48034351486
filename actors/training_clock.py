"""How long the workers of a run have trained, those of earlier sittings included."""

from __future__ import annotations

import time

from actors.sight import Sight


class TrainingClock:
    """Begins with the first step of anyone. ``before_s``: what a run that is resumed had trained.

    By two watches: the driver's own, which no other machine's can set wrong, decides when a run is
    over; the wall clock of the worker that took that step is what is reported.
    """

    def __init__(self, sight: Sight, before_s: float) -> None:
        self._sight, self._before_s = sight, before_s
        self._since: float | None = None

    @property
    def seen_s(self) -> float:
        """Seconds since the driver saw the first step; 0 before."""
        return self._before_s + self.this_sitting_s if self._began is not None else 0.0

    @property
    def this_sitting_s(self) -> float:
        """Of them, those of this driver."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def reported_s(self) -> float:
        """Seconds since the first step, by the clock of the worker that took it; 0 before."""
        first = self._sight.first_step_at
        return 0.0 if first is None else self._before_s + max(0.0, time.time() - first)

    @property
    def _began(self) -> float | None:
        if self._since is None and self._sight.first_step_at is not None:
            self._since = time.monotonic()
        return self._since
