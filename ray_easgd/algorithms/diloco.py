"""Local SGD and DiLoCo: an outer step on what the workers did (docs/mathematics.md, 2.13)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ray_easgd.algorithms.contract import Algorithm, Arrival, CenterStep, Exchange, Pushes, State


@dataclass(frozen=True, slots=True)
class OuterExchange(Exchange):
    """``d = x - base``; when the center that shows it is there, ``x <- c + steps taken since``.

    In rounds a worker waits, takes no step in between, and has ``x = c`` exactly. Asynchronously
    it keeps stepping while the answer travels, and what it does then counts for the next push.
    """

    overwrites: ClassVar[bool] = True
    answered: ClassVar[bool] = True

    def begin(self, x: Tensor) -> State:
        return {"base": x.clone(), "sent": x.clone()}

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        state["sent"].copy_(x)
        return x - state["base"]

    def take_over_(self, x: Tensor, c: Tensor, state: State, *, unseen: Pushes) -> None:
        x.sub_(state["sent"]).add_(c)
        state["base"].copy_(c)


@dataclass(frozen=True, slots=True)
class OuterNesterov(CenterStep):
    """``v <- mu v + D; c <- c - lr (D + mu v)``, with ``D = -mean(d)`` over a round.

    lr = 1 and mu = 0 is periodic averaging: ``c <- c + mean(d)``.
    """

    outer_lr: float
    momentum: float

    def begin(self, c: Tensor) -> State:
        return {"v": torch.zeros_like(c)} if self.momentum else {}

    def apply_(self, c: Tensor, d: Tensor, state: State, arrival: Arrival) -> None:
        mean = d / arrival.pushes
        c.add_(mean, alpha=self.outer_lr)
        if self.momentum:
            v = state["v"].mul_(self.momentum).sub_(mean)
            c.sub_(v, alpha=self.outer_lr * self.momentum)


@dataclass(frozen=True, slots=True)
class DelayedNesterov(CenterStep):
    """Outer momentum for pushes that come one by one (arXiv 2401.09135).

    ``c <- c - lr D / N`` at each push; at each N-th also ``v <- mu v + sum(D) / N`` over those N
    and ``c <- c - lr mu v``. N is the number of children; in lockstep it is ``OuterNesterov``.
    """

    outer_lr: float
    momentum: float

    def begin(self, c: Tensor) -> State:
        return {"v": torch.zeros_like(c), "sum": torch.zeros_like(c), "pushes": torch.zeros(1)}

    def apply_(self, c: Tensor, d: Tensor, state: State, arrival: Arrival) -> None:
        share = d / max(1, arrival.children)
        c.add_(share, alpha=self.outer_lr)
        state["sum"].sub_(share)
        if float(state["pushes"].add_(1.0)) >= arrival.children:
            v = state["v"].mul_(self.momentum).add_(state["sum"])
            c.sub_(v, alpha=self.outer_lr * self.momentum)
            state["sum"].zero_()
            state["pushes"].zero_()


LOCAL_SGD = Algorithm(
    name="local_sgd",
    summary="periodic averaging in lockstep: everybody becomes the mean of all",
    source="arXiv 1805.09767; two-rate family with a = 1, b = 1/p",
    exchange=OuterExchange(),
    center_step=OuterNesterov(1.0, 0.0),
    local_step="sgd",
    conserves="none",
    period=16,
    lr=0.05,
    rounds="together",
)

DILOCO = replace(
    LOCAL_SGD,
    name="diloco",
    summary="periodic averaging in lockstep with outer Nesterov momentum",
    source="arXiv 2311.08105",
    center_step=OuterNesterov(0.7, 0.9),
    period=32,
    momentum=0.9,
)

DILOCO_ASYNC = replace(
    DILOCO,
    name="diloco_async",
    summary="DiLoCo without waiting, with delayed Nesterov momentum",
    source="arXiv 2401.09135",
    center_step=DelayedNesterov(0.7, 0.9),
    rounds="none",
)
