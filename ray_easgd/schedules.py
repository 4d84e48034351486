"""Learning rates as functions of a worker's local clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """Maps the local clock (gradient steps taken) to a factor on the base learning rate."""

    def __call__(self, clock: int, /) -> float: ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Always 1."""

    def __call__(self, clock: int, /) -> float:
        return 1.0


@dataclass(frozen=True, slots=True)
class Decay:
    """``1 / (1 + rate t)^power`` (paper, figure 9: power 1/2)."""

    rate: float
    power: float = 0.5

    def __call__(self, clock: int, /) -> float:
        return float((1.0 + self.rate * clock) ** -self.power)


@dataclass(frozen=True, slots=True)
class WarmupCosine:
    """Linear from 0 to 1 over ``warmup`` steps, then half a cosine down to ``floor``."""

    warmup: int
    total: int
    floor: float = 0.0

    def __call__(self, clock: int, /) -> float:
        if clock < self.warmup:
            return (clock + 1) / self.warmup
        done = min(1.0, (clock - self.warmup) / max(1, self.total - self.warmup))
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * done))
