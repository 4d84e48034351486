"""EASGD and EAMSGD: the elastic exchange (paper, algorithms 1 and 2; docs/mathematics.md, 2.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from ray_easgd.algorithms.contract import Algorithm, Exchange, State


@dataclass(frozen=True, slots=True)
class ElasticExchange(Exchange):
    """``d = alpha (x - c)``; the child moves by ``-d`` and the hub by ``+d``.

    Invariant: ``x + c`` is the same before and after, so no mass is made or lost.
    """

    elastic: ClassVar[bool] = True
    fused: ClassVar[str] = "elastic"

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        return (x - c).mul_(moving_rate)


EASGD = Algorithm(
    name="easgd",
    summary="workers tied to the center by an elastic force, plain SGD steps",
    source="paper, algorithm 1; thesis chapter 2",
    exchange=ElasticExchange(),
    local_step="sgd",
    conserves="sum",
    period=10,
    lr=0.05,
)

EAMSGD = Algorithm(
    name="eamsgd",
    summary="EASGD with Nesterov momentum in each worker",
    source="paper, algorithm 2; thesis chapter 2",
    exchange=ElasticExchange(),
    local_step="nesterov",
    fixed_local_step=True,
    conserves="sum",
    period=10,
    lr=0.01,
    momentum=0.9,
)

EASGD_SYNC = replace(
    EASGD,
    name="easgd_sync",
    summary="EASGD in lockstep (Jacobi): the center moves once all have pushed",
    source="paper, section 3; thesis chapter 2",
    rounds="together",
    order="at_snapshot",
)
