"""DOWNPOUR and its kin: push what was accumulated, take the center (mathematics.md, 2.4 to 2.6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ray_easgd.algorithms.contract import Algorithm, Arrival, CenterStep, Exchange, Pushes, State
from ray_easgd.algorithms.diloco import OuterExchange


@dataclass(frozen=True, slots=True)
class DownpourExchange(Exchange):
    """``d = x - base``, the steps since the last exchange; then ``x <- c`` as the hub will have it.

    The pulled ``c`` may not show this child's latest pushes yet; adding those (``unseen``) gives
    the center after the add, as Algorithm 3 asks, stale only in what others did meanwhile.
    """

    overwrites: ClassVar[bool] = True
    fused: ClassVar[str] = "take_over"

    def begin(self, x: Tensor) -> State:
        return {"base": x.clone()}

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        return x - state["base"]

    def take_over_(self, x: Tensor, c: Tensor, state: State, *, unseen: Pushes) -> None:
        x.copy_(c)
        for push in unseen:
            x.add_(push)
        state["base"].copy_(x)


@dataclass(frozen=True, slots=True)
class NesterovCenter(CenterStep):
    """MDOWNPOUR's center, the look-ahead point of Nesterov's method (mathematics.md, 2.5):

    ``v <- delta v + d; c <- c + delta v + d`` with ``d = -lr g``, as the erratum has it. The
    paper prints ``c <- c + delta v``, which never moves at delta = 0: ``as_printed``. Gradients
    belong at ``c``, so its workers take over the center that *shows* their push.
    """

    momentum: float
    as_printed: bool = False

    def begin(self, c: Tensor) -> State:
        return {"v": torch.zeros_like(c)}

    def apply_(self, c: Tensor, d: Tensor, state: State, arrival: Arrival) -> None:
        v = state["v"].mul_(self.momentum).add_(d)
        c.add_(v, alpha=self.momentum)
        if not self.as_printed:
            c.add_(d)


DOWNPOUR = Algorithm(
    name="downpour",
    summary="workers push accumulated gradients and take over the center",
    source="paper, algorithm 3; Dean et al. 2012",
    exchange=DownpourExchange(),
    local_step="sgd",
    conserves="pushes",
    period=1,
    lr=0.05,
)

ADOWNPOUR = replace(
    DOWNPOUR,
    name="adownpour",
    summary="DOWNPOUR, tested at the mean of all centers so far",
    source="paper, section 5",
    average="polyak",
)

MVADOWNPOUR = replace(
    DOWNPOUR,
    name="mvadownpour",
    summary="DOWNPOUR, tested at a moving average of the center",
    source="paper, section 5",
    average="moving",
)

MDOWNPOUR = replace(
    DOWNPOUR,
    name="mdownpour",
    summary="DOWNPOUR with Nesterov momentum in the center; period 1",
    source="paper, algorithms 4 and 5, corrected",
    exchange=OuterExchange(),
    center_step=NesterovCenter(0.9),
    conserves="none",
    period=1,
    lr=0.001,
    momentum=0.9,
)
