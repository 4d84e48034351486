"""Who is compared, how each is tuned, and what a tuned run says.

Every contestant tries the same number of learning rates with the first seed and keeps the one with
the best validation accuracy; then it runs once with each seed. Test samples choose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ray_easgd.algorithms import METHODS
from ray_easgd.figures.learning.cells import Cell, Cells, Row
from ray_easgd.theory.arguments import Array

NAMES = {"easgd": "EASGD", "eamsgd": "EAMSGD", "downpour": "DOWNPOUR", "msgd": "MSGD"}


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A method in one setting, on one data set.

    Its learning rates are one grid for all, in the pace at which they move the center: a rate
    ``g`` of the grid is ``g`` for EASGD, ``(1 - momentum) g`` where there is momentum, and
    ``g / p`` for DOWNPOUR, whose center takes the steps of all workers.
    """

    data: str
    method: str
    workers: int = 1
    period: int = 1

    def rates(self, grid: Sequence[float]) -> tuple[float, ...]:
        """The learning rates it tries."""
        method = METHODS[self.method]
        unit = 1.0 - (method.momentum or 0.0)
        if method.exchange.overwrites:
            unit /= self.workers
        return tuple(unit * g for g in grid)

    def cell(self, *, lr: float, seed: int, steps: int, decay: float = 0.0) -> Cell:
        """A run of it."""
        return Cell(
            data=self.data,
            method=self.method,
            workers=self.workers,
            period=self.period,
            lr=lr,
            seed=seed,
            steps=steps,
            decay=decay,
        )


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The runs of a contestant at one learning rate: a seed a row, a look a column."""

    contestant: Contestant
    lr: float
    steps: int
    decay: float = 0.0
    curves: Sequence[Sequence[Row]] = field(repr=False)

    def of(self, key: str) -> Array:
        """One number of all looks; the last there is where a fleet broke down."""
        looks = max((len(curve) for curve in self.curves), default=0)
        rows = [
            [look[key] for look in curve]
            + [curve[-1][key] if curve else 0.0] * (looks - len(curve))
            for curve in self.curves
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), -1)

    @property
    def mean(self) -> Array:
        """Test accuracy against time, over the seeds."""
        return np.asarray(self.of("test_accuracy").mean(0), np.float64)

    @property
    def best(self) -> Array:
        """Best test accuracy of each seed's run."""
        return np.asarray(self.of("test_accuracy").max(1, initial=0.0), np.float64)

    def bytes_until(self, accuracy: float) -> float:
        """Moved by all workers until the mean over the seeds is there; infinity if it never is."""
        reached = np.flatnonzero(self.mean >= accuracy)
        return float(self.of("bytes").mean(0)[reached[0]]) if reached.size else np.inf

    def rows(self) -> list[dict[str, Any]]:
        """For the table."""
        who = self.contestant
        return [
            {
                "data": who.data,
                "method": who.method,
                "workers": who.workers,
                "period": who.period,
                "lr": self.lr,
                "decay": self.decay,
                "run": run,
            }
            | look
            for run, curve in enumerate(self.curves)
            for look in curve
        ]


def tuned(cells: Cells, contestant: Contestant) -> Runs:
    """At the learning rate that was best by validation."""
    size = cells.size

    def score(lr: float) -> float:
        tried = contestant.cell(lr=lr, seed=size.seeds[0], steps=size.steps)
        return max((look["val_accuracy"] for look in cells[tried]["curve"]), default=0.0)

    return run(cells, contestant, lr=max(contestant.rates(size.grid), key=score), steps=size.steps)


def run(cells: Cells, contestant: Contestant, *, lr: float, steps: int, decay: float = 0.0) -> Runs:
    """Once with each seed."""
    asked = [
        contestant.cell(lr=lr, seed=seed, steps=steps, decay=decay) for seed in cells.size.seeds
    ]
    curves = [cells[cell]["curve"] for cell in asked]
    return Runs(contestant=contestant, lr=lr, steps=steps, decay=decay, curves=curves)
