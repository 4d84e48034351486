"""The two-rate family: Jacobi and Gauss-Seidel orders of one elastic pair (mathematics.md, 2.9).

Worker rate ``a`` (the moving rate), center rate per worker ``b``. With ``a = b = alpha`` Jacobi is
EASGD; full Gauss-Seidel with ``a = b = 1`` is synchronous DOWNPOUR.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from ray_easgd.algorithms.contract import Algorithm, Exchange, Order, State

Scheme = Literal[
    "jacobi", "gauss_seidel_center_first", "gauss_seidel_worker_first", "full_gauss_seidel"
]


@dataclass(frozen=True, slots=True)
class JacobiExchange(Exchange):
    """``d = b (x - c)`` to the center; ``x <- x - a (x - c)``, with the same old ``c``.

    Invariant: ``b x + a c`` is the same before and after.
    """

    elastic: ClassVar[bool] = True
    center_rate: float | None = None

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        b = moving_rate if self.center_rate is None else self.center_rate
        return (x - c).mul_(b)

    def displacement(
        self, x: Tensor, c: Tensor, d: Tensor, state: State, *, moving_rate: float
    ) -> Tensor:
        return (x - c).mul_(moving_rate)


@dataclass(frozen=True, slots=True)
class GaussSeidelExchange(JacobiExchange):
    """``d = b (x - c)`` to the center, then ``x <- x - a (x - c')`` with the center it made.

    Taken ``at_snapshot``, the gradient is that of the old ``x``: center first; cut in between
    (x moved, center not yet) the same iteration is worker first. Taken ``between_steps`` the
    gradient is that of the moved ``x``: full Gauss-Seidel.
    """

    answered: ClassVar[bool] = True


GAUSS_SEIDEL = Algorithm(
    name="gauss_seidel",
    summary="EASGD in lockstep, each worker pulled by the center its pushes made",
    source="thesis chapter 6",
    exchange=GaussSeidelExchange(),
    local_step="sgd",
    conserves="pushes",
    period=10,
    lr=0.05,
    rounds="together",
    order="at_snapshot",
    fixed_order=True,
)

TWO_RATE = replace(
    GAUSS_SEIDEL,
    name="two_rate",
    summary="lockstep with separate rates of worker and center, in any of four orders",
    exchange=JacobiExchange(),
)


def in_scheme(algorithm: Algorithm, scheme: Scheme) -> Algorithm:
    """The method in another order of its updates; the rates stay."""
    assert isinstance(algorithm.exchange, JacobiExchange)
    b = algorithm.exchange.center_rate
    exchange = JacobiExchange(b) if scheme == "jacobi" else GaussSeidelExchange(b)
    order: Order = "between_steps" if scheme == "full_gauss_seidel" else "at_snapshot"
    return replace(algorithm, exchange=exchange, order=order)
