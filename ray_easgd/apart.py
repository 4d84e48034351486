"""The child's half of an exchange by messages: the difference, checked and ready to travel.

Large vectors of the elastic methods take one compiled pass, others the exchange's own formula: to
the bit the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ray_easgd.algorithms.contract import Exchange, State
from ray_easgd.protocol import WireFormat
from ray_easgd.staging import OnCpu, OnGpu, Staging
from ray_easgd.wire import Payload, encoded

_WORTH_A_PASS = 1 << 16  # elements; below that the compiled code is not even loaded


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """``d`` as both ends apply it, where ``x`` is; ``payload`` the same as it travels.

    ``residual``: what rounding dropped, where ``x`` will be overwritten. ``has_moved``: ``x`` has
    lost ``d`` already.
    """

    d: Tensor
    payload: Payload
    norm: float
    residual: Tensor | None = None
    has_moved: bool = False


def difference(
    exchange: Exchange,
    x: Tensor,
    c: Tensor,
    state: State,
    moving_rate: float,
    staging: Staging,
    *,
    wire_format: WireFormat,
    may_move: bool = False,
) -> Difference | None:
    """Between ``x`` and a snapshot's ``c``; None where it is not finite. ``may_move`` ``x`` too."""
    passes = exchange.fused_pass == "elastic" and isinstance(staging, OnCpu)
    if passes and wire_format == "float32" and x.numel() >= _WORTH_A_PASS and c.dtype == x.dtype:
        return _in_one_pass(x, c, moving_rate, may_move)
    d = exchange.difference(x, c, state, moving_rate=moving_rate)
    if isinstance(staging, OnGpu) and wire_format == "float32":
        return _on_its_way(d, staging)
    left = d.clone() if exchange.overwrites and wire_format != "float32" else None
    sent = d if isinstance(staging, OnCpu) else staging.ship(d).landed()
    payload = encoded(sent, wire_format)
    if payload is None:
        return None
    if sent is not d:  # rounded, on the CPU only
        d = staging.ready(staging.bring(sent))
    residual = None if left is None else left.sub_(d)
    return Difference(d=d, payload=payload, norm=float(sent.norm()), residual=residual)


def _on_its_way(d: Tensor, staging: OnGpu) -> Difference | None:
    """Checked on the device: the only number waited for is its norm."""
    norm = float(d.norm())
    if not math.isfinite(norm):
        return None
    return Difference(d=d, payload=staging.ship(d), norm=norm)


def _in_one_pass(x: Tensor, c: Tensor, moving_rate: float, may_move: bool) -> Difference | None:
    from ray_easgd.shared import passes

    n = x.numel()
    d = torch.from_numpy(np.empty(n, np.float32))  # numpy asks for huge pages, torch does not
    walk = passes.apart_and_move if may_move else passes.apart
    reached, squared_norm, _ = walk(
        x.numpy(), c.numpy(), moving_rate, d.numpy(), 0, n, passes.NO_SIGNS
    )
    if reached < n:
        return None
    return Difference(d=d, payload=d, norm=squared_norm**0.5, has_moved=may_move)
