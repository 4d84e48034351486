"""What a row is made of: the moments at which each worker's exchanges were complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ray_easgd.errors import EasgdError


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """One worker's exchanges.

    ``moments``: the machine's monotonic clock, in seconds, at the start and after each exchange;
    one more than there are exchanges. ``bytes_*``: payload of all of them. ``left_out``: elements
    that they left to the next one, because another worker was at them.
    """

    moments: Sequence[float]
    bytes_sent: int
    bytes_received: int
    left_out: int = 0

    @property
    def exchanges(self) -> int:
        return len(self.moments) - 1

    @property
    def seconds(self) -> float:
        return self.moments[-1] - self.moments[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How long one worker waits for an exchange, and how many all complete in a second."""

    p50_s: float
    p99_s: float
    exchanges_per_s: float


def pace(windows: Sequence[Window]) -> Pace:
    """Over the time in which *all* workers were exchanging: what lies outside is left out."""
    begin = max(w.moments[0] for w in windows)
    end = min(w.moments[-1] for w in windows)
    waits = [
        after - before
        for window in windows
        for before, after in pairwise(window.moments)
        if begin <= before and after <= end
    ]
    if not waits:
        raise EasgdError(
            "the workers were never all exchanging at the same time. Give more --exchanges."
        )
    ended = sum(begin < moment <= end for window in windows for moment in window.moments[1:])
    p50, p99 = np.percentile(waits, [50, 99])
    return Pace(p50_s=float(p50), p99_s=float(p99), exchanges_per_s=ended / (end - begin))
