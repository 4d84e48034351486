"""One exchange in the hub's own memory, by a compiled pass."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ray_easgd.algorithms.contract import Exchange, State
from ray_easgd.protocol import Interval, Outcome

if TYPE_CHECKING:
    from ray_easgd.shared.desk import Desk, Meeting

Met = tuple["Meeting", Tensor | None]
"""What came of it, and what ``x`` has still to lose after its next gradient, if anything."""


def meet(
    desk: Desk,
    exchange: Exchange,
    x: Tensor,
    state: State,
    later: bool,
    steps: int,
    progress: tuple[Interval, ...],
) -> Met:
    """Exchange ``x``, shape (n,), with the center. ``later``: leave it to the caller to move it."""
    began = time.perf_counter()
    meeting, left = _meet(desk, exchange, x, state, later, steps, progress)
    return replace(meeting, took_s=time.perf_counter() - began), left


def _meet(
    desk: Desk,
    exchange: Exchange,
    x: Tensor,
    state: State,
    later: bool,
    steps: int,
    progress: tuple[Interval, ...],
) -> Met:
    if exchange.fused_pass == "take_over":
        base = state["base"].numpy()
        return desk.take_over(x.numpy(), base, steps=steps, progress=progress), None
    if not later:
        return desk.elastic(x.numpy(), steps=steps, progress=progress), None
    d = torch.empty_like(x)
    meeting = desk.elastic_later(x.numpy(), d.numpy(), steps=steps, progress=progress)
    return meeting, d if meeting.outcome is Outcome.APPLIED else None


def read_center(desk: Desk, n: int) -> Tensor:
    """A copy of the center, shape (n,)."""
    c = torch.empty(n)
    desk.read(c.numpy())
    return c
