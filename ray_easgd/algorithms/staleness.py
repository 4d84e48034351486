"""Staleness-weighted pushes: what was computed from an old center counts for less."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ray_easgd.algorithms.contract import Arrival, CenterStep, State
from ray_easgd.errors import BadConfig


@dataclass(frozen=True, slots=True)
class StalenessWeighted(CenterStep):
    """``d`` enters as ``d / (1 + staleness)^power`` (Xie et al. 2019, arXiv 1903.03934).

    The child has moved by all of ``d``, so nothing is conserved; power 0 is the plain step.
    """

    inner: CenterStep
    power: float

    def begin(self, c: Tensor) -> State:
        return self.inner.begin(c)

    def admit_(self, c: Tensor, state: State, child: int) -> None:
        self.inner.admit_(c, state, child)

    def dismiss_(self, c: Tensor, state: State, child: int, *, lost: bool) -> None:
        self.inner.dismiss_(c, state, child, lost=lost)

    def apply_(self, c: Tensor, d: Tensor, state: State, arrival: Arrival) -> None:
        weight = (1.0 + arrival.staleness) ** -self.power
        self.inner.apply_(c, d * weight, state, arrival)

    def judged(self, c: Tensor, state: State) -> Tensor:
        return self.inner.judged(c, state)


def weighted(step: CenterStep, power: float) -> CenterStep:
    """``step`` with its pushes weighted; BadConfig where they are no differences."""
    if not power:
        return step
    if not step.takes_differences:
        raise BadConfig(
            "algorithm.staleness_power",
            power,
            "this method's pushes are whole vectors, which a weight would shrink towards zero",
            "Leave it away.",
        )
    return StalenessWeighted(step, power)
