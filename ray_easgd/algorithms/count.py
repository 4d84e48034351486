"""Count: the method that makes the edge ledger exact (docs/mathematics.md, 2.14).

Each push is one-hot(child), whatever the gradients do. Whole numbers up to 2^24 are exact in
float32, so the center *is* the number of pushes applied, child by child: a lost push leaves it
one short, a doubled one leaves it one over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ray_easgd.algorithms.contract import Algorithm, Exchange, State


@dataclass(frozen=True, slots=True)
class CountExchange(Exchange):
    """``d = one_hot(child)``; ``x`` is left alone."""

    child: int

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        d = torch.zeros_like(x)
        d[self.child] = 1.0
        return d

    def displacement(
        self, x: Tensor, c: Tensor, d: Tensor, state: State, *, moving_rate: float
    ) -> Tensor | None:
        return None


def count(child: int) -> Algorithm:
    """The counting method of one child; its vector must be longer than the number of children."""
    return Algorithm(
        name="count",
        summary="counts pushes; for the ledger's tests",
        source="docs/mathematics.md, 2.14",
        exchange=CountExchange(child),
        local_step="sgd",
        conserves="pushes",
        period=1,
        lr=0.0,
    )
