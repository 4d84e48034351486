"""Linearized ADMM (paper, section 2.3; docs/mathematics.md, 2.7).

In our letters: with ``alpha = eta rho / (1 + eta rho)`` as moving rate and ``lr = eta / (1 + eta
rho)``, the paper's proximal step is EASGD's step towards a center shifted by the multiplier ``m``:
``x <- x - lr g(x) - alpha (x - m - c)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ray_easgd.algorithms.contract import Algorithm, Arrival, CenterStep, Exchange, State


@dataclass(frozen=True, slots=True)
class AdmmExchange(Exchange):
    """Sends ``d = x - m``; then ``m <- m - (x - c)`` and ``x <- x - alpha (x - m - c)``.

    Invariant: where all ``x`` equal ``c``, the center stays while the multipliers' mean is 0.
    """

    answered: ClassVar[bool] = True

    def begin(self, x: Tensor) -> State:
        return {"m": torch.zeros_like(x)}

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        return x - state["m"]

    def displacement(
        self, x: Tensor, c: Tensor, d: Tensor, state: State, *, moving_rate: float
    ) -> Tensor:
        gap = x - c
        m = state["m"].sub_(gap)
        return gap.sub_(m).mul_(moving_rate)


@dataclass(frozen=True, slots=True)
class MeanOfSlots(CenterStep):
    """``c`` is the mean of one slot a child, its newest ``x - m``: ``slot_j <- d; c <- mean``.

    A child that joins has a slot equal to ``c``. One that is lost takes its slot along; one that
    said goodbye leaves its last word standing until somebody joins, so that a fleet that ends
    together keeps the mean of all.
    """

    takes_differences: ClassVar[bool] = False

    def admit_(self, c: Tensor, state: State, child: int) -> None:
        for name in [name for name in state if name.startswith("left ")]:
            del state[name]
        state[f"slot {child}"] = c.clone()

    def dismiss_(self, c: Tensor, state: State, child: int, *, lost: bool) -> None:
        slot = state.pop(f"slot {child}")
        if not lost:
            state[f"left {child}"] = slot

    def apply_(self, c: Tensor, d: Tensor, state: State, arrival: Arrival) -> None:
        state[f"slot {arrival.child}"].copy_(d)
        slots = [slot for name, slot in state.items() if name.startswith(("slot ", "left "))]
        torch.mean(torch.stack(slots), dim=0, out=c)


ADMM = Algorithm(
    name="admm",
    summary="linearized ADMM, one worker after the other",
    source="paper, section 2.3; thesis chapter 3",
    exchange=AdmmExchange(),
    center_step=MeanOfSlots(),
    local_step="sgd",
    conserves="none",
    period=1,
    lr=0.05,
    rounds="in_turn",
    order="at_snapshot",
)

ADMM_ASYNC = replace(
    ADMM,
    name="admm_async",
    summary="linearized ADMM, nobody waiting for anybody",
    period=10,
    beta=0.2,
    rounds="none",
)
