"""The sequential baselines: one worker, whose path the center follows (mathematics.md, 2.6)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ray_easgd.algorithms.contract import Algorithm, Exchange, State


@dataclass(frozen=True, slots=True)
class FollowExchange(Exchange):
    """``d = x - base``; ``x`` is left alone: the center is the worker's path, period by period."""

    def begin(self, x: Tensor) -> State:
        return {"base": x.clone()}

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        return x - state["base"]

    def displacement(
        self, x: Tensor, c: Tensor, d: Tensor, state: State, *, moving_rate: float
    ) -> Tensor | None:
        state["base"].add_(d)
        return None


SGD = Algorithm(
    name="sgd",
    summary="one worker, plain SGD: the baseline",
    source="paper, section 5",
    exchange=FollowExchange(),
    local_step="sgd",
    conserves="pushes",
    period=16,
    lr=0.05,
    sequential=True,
)

MSGD = Algorithm(
    name="msgd",
    summary="one worker, SGD with Nesterov momentum: the baseline",
    source="paper, section 5",
    exchange=FollowExchange(),
    local_step="nesterov",
    fixed_local_step=True,
    conserves="pushes",
    period=16,
    lr=0.01,
    momentum=0.9,
    sequential=True,
)

ASGD = replace(
    SGD,
    name="asgd",
    summary="one worker, SGD, tested at the mean of its path",
    average="polyak",
    period=1,
)

MVASGD = replace(
    SGD,
    name="mvasgd",
    summary="one worker, SGD, tested at a moving average of its path",
    average="moving",
    period=1,
)
