"""Averages of the center, kept by its hub for testing; workers never see them (2.6 of
docs/mathematics.md)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ray_easgd.algorithms.contract import Arrival, Average, CenterStep, State

_MOST_WEIGHT = 0.2  # of a look at several pushes by children themselves
_MOST_PUSHES = 32


@dataclass(frozen=True, slots=True)
class Averaged(CenterStep):
    """``z <- (1 - a) z + a c`` before each step of the center, ``z_0 = c_0``.

    ``rate`` is a constant a (moving average); None means ``a = 1 / (t + 1)`` at the center's clock
    t, which makes z the plain mean of all centers so far (Polyak).

    Where children move the center by themselves, it is looked at now and then, and counts as if it
    had stood there after each push since the last look.
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
        self._take_in_(c, state, 1)
        self.inner.apply_(c, d, state, arrival)

    @property
    def additive(self) -> bool:
        return self.inner.additive

    def saw_(self, c: Tensor, state: State, pushes: int) -> None:
        self._take_in_(c, state, pushes)
        self.inner.saw_(c, state, pushes)

    def looks_after(self, state: State) -> int | None:
        a = 1.0 / (float(state["t"]) + 1.0) if self.rate is None else self.rate
        return min(_MOST_PUSHES, max(1, int(_MOST_WEIGHT / a)))

    def _take_in_(self, c: Tensor, state: State, pushes: int) -> None:
        """As so many centers that are all ``c``."""
        t = float(state["t"])
        a = pushes / (t + pushes) if self.rate is None else 1.0 - (1.0 - self.rate) ** pushes
        state["z"].lerp_(c, a)
        state["t"].add_(pushes)

    def judged(self, c: Tensor, state: State) -> Tensor:
        return state["z"]


def averaged(step: CenterStep, kind: Average, rate: float) -> CenterStep:
    """A center step that keeps an average of that kind; ``rate`` is for the moving one."""
    if kind == "none":
        return step
    return Averaged(step, rate if kind == "moving" else None)
