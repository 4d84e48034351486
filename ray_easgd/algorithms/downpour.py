"""DOWNPOUR: push what was accumulated, take the center (docs/mathematics.md, 2.4)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ray_easgd.algorithms.contract import Algorithm, Pushes, State


@dataclass(frozen=True, slots=True)
class DownpourExchange:
    """``d = x - base``, the steps since the last exchange; then ``x <- c`` as the hub will have it.

    The pulled ``c`` may not show this child's latest pushes yet; adding those (``unseen``) gives
    the center after the add, as Algorithm 3 asks, stale only in what others did meanwhile.
    """

    overwrites: bool = field(default=True, init=False)

    def begin(self, x: Tensor) -> State:
        return {"base": x.clone()}

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        return x - state["base"]

    def move_(self, x: Tensor, c: Tensor, d: Tensor, state: State, *, unseen: Pushes) -> None:
        x.copy_(c)
        for push in unseen:
            x.add_(push)
        state["base"].copy_(x)


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
