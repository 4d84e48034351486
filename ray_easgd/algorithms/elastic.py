"""EASGD and EAMSGD: the elastic exchange (paper, algorithms 1 and 2; docs/mathematics.md, 2.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ray_easgd.algorithms.contract import Algorithm, Pushes, State


@dataclass(frozen=True, slots=True)
class ElasticExchange:
    """``d = alpha (x - c)``; the child moves by ``-d`` and the hub by ``+d``.

    Invariant: ``x + c`` is the same before and after, so no mass is made or lost.
    """

    overwrites: bool = field(default=False, init=False)

    def begin(self, x: Tensor) -> State:
        return {}

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        return (x - c).mul_(moving_rate)

    def move_(self, x: Tensor, c: Tensor, d: Tensor, state: State, *, unseen: Pushes) -> None:
        x.sub_(d)


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
