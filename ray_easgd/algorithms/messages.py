"""EASGD Tree by one-way messages (thesis, 6.1; docs/mathematics.md, 2.10).

Neighbors of a tree send each other copies of their vectors, and each moves toward what it hears.
Nobody replies and nobody waits. Only leaves take gradients; the root is the center.

Symbols: ``x`` a child's vector, ``c`` its hub's, ``m`` a message: the vector of its sender.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from ray_easgd.algorithms.contract import Algorithm, Arrival, CenterStep, Exchange, State


@dataclass(frozen=True, slots=True)
class Send(Exchange):
    """A child's side: it sends ``x`` itself, and on hearing ``c`` does ``x <- x + alpha (c - x)``.

    Invariant: for ``0 <= alpha <= 1`` it stays in the convex hull of itself and what it hears.
    Nothing is conserved: both ends of an edge move by copies, not by one difference.
    """

    elastic: ClassVar[bool] = True
    one_way: ClassVar[bool] = True

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        return x.clone()

    def displacement(
        self, x: Tensor, c: Tensor, d: Tensor, state: State, *, moving_rate: float
    ) -> Tensor:
        return (x - c).mul_(moving_rate)


@dataclass(frozen=True, slots=True)
class Absorb(CenterStep):
    """A hub's side: ``c <- c + alpha (m - c)`` for each child's message, first heard first."""

    takes_differences: ClassVar[bool] = False

    def apply_(self, c: Tensor, d: Tensor, state: State, arrival: Arrival) -> None:
        c.lerp_(d, arrival.moving_rate)


def by_messages(algorithm: Algorithm) -> Algorithm:
    """An elastic method whose edges carry one-way messages instead of exchanges."""
    return replace(algorithm, exchange=Send(), center_step=Absorb(), conserves="none")
