"""float32 as a wire format: the vector itself, with nothing but the guard."""

from __future__ import annotations

import numpy as np
import torch

from ray_easgd.codec.arrays import Parts, Vector
from ray_easgd.kernels import is_finite


def encode(values: Vector, *, rewrite: bool) -> Parts | None:
    """The vector itself, no copy; None where an element is not finite."""
    return (values,) if is_finite(torch.from_numpy(values)) else None


def encode_from(base: Vector, c: Vector) -> Parts | None:
    """``c - base``."""
    with _as_elsewhere():
        return encode(c - base, rewrite=False)


def decode(parts: Parts, out: Vector) -> None:
    """``out = d``."""
    np.copyto(out, parts[0])


def add(parts: Parts, c: Vector) -> None:
    """``c += d``."""
    with _as_elsewhere():
        np.add(c, parts[0], out=c)


def decode_onto(base: Vector, parts: Parts, out: Vector) -> None:
    """``out = base + d``."""
    with _as_elsewhere():
        np.add(base, parts[0], out=out)


def _as_elsewhere() -> np.errstate:
    """numpy warns of an overflow, torch and compiled loops do not."""
    return np.errstate(over="ignore", invalid="ignore")
