"""Averages of the center, kept by its hub for testing; workers never see them (2.6 of
docs/mathematics.md)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ray_easgd.algorithms.contract import Arrival, Average, CenterStep, State


@dataclass(frozen=True, slots=True)
class Averaged(CenterStep):
    """``z <- (1 - a) z + a c`` before each step of the center, ``z_0 = c_0``.

    ``rate`` is a constant a (moving average); None means ``a = 1 / (t + 1)`` at the center's clock
    t, which makes z the plain mean of all centers so far (Polyak).
    """

    inner: CenterStep
    rate: float | None = None

    def begin(self, c: Tensor) -> State:
        return {"z": c.clone(), "t": torch.zeros(1)} | self.inner.begin(c)

    def admit_(self, c: Tensor, state: State, child: int) -> None:
        self.inner.admit_(c, state, child)

    def dismiss_(self, c: Tensor, state: State, child: int, *, lost: bool) -> None:
        self.inner.dismiss_(c, state, child, lost=lost)

    def apply_(self, c: Tensor, d: Tensor, state: State, arrival: Arrival) -> None:
        a = 1.0 / (float(state["t"]) + 1.0) if self.rate is None else self.rate
        state["z"].lerp_(c, a)
        state["t"].add_(1.0)
        self.inner.apply_(c, d, state, arrival)

    def judged(self, c: Tensor, state: State) -> Tensor:
        return state["z"]


def averaged(step: CenterStep, kind: Average, rate: float) -> CenterStep:
    """A center step that keeps an average of that kind; ``rate`` is for the moving one."""
    if kind == "none":
        return step
    return Averaged(step, rate if kind == "moving" else None)
