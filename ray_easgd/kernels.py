"""Passes over whole vectors that guard the center: finiteness, and the ledger's checksum."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_CHUNK = 1 << 15  # elements; a chunk and its temporaries stay in the cache
_INFINITY_BITS = 0x7F800000


def is_finite(d: Tensor) -> bool:
    """Whether every element is finite; for float32 by the integer maximum of its bits.

    Bits rather than ``isfinite``: a compiler's fast-math deletes float checks, never this one.
    """
    if d.dtype != torch.float32:
        return bool(torch.isfinite(d).all())
    bits = d.view(torch.int32)
    return all(
        int((bits[k : k + _CHUNK] & 0x7FFFFFFF).max()) < _INFINITY_BITS
        for k in range(0, bits.numel(), _CHUNK)
    )


class Checksum:
    """The ledger's ``r . d`` in float64, with a seeded vector ``r`` of plus and minus ones.

    Linear, so the center's own checksum must be its first one plus those of the pushes applied,
    up to float32 rounding: an edge ledger (docs/mathematics.md, 2.14).
    """

    def __init__(self, n: int, seed: int) -> None:
        signs = np.random.default_rng(seed).integers(0, 2, n, dtype=np.int8) * 2 - 1
        self._signs = torch.from_numpy(signs)

    def __call__(self, d: Tensor) -> float:
        """``r . d`` for a CPU tensor of shape (n,)."""
        return sum(
            float(torch.dot(self._signs[k : k + _CHUNK].double(), d[k : k + _CHUNK].double()))
            for k in range(0, d.numel(), _CHUNK)
        )
