"""One compiled pass over part of a shared vector: difference, guard and update, block by block.

A block stays in the first-level cache, so a pass reads and writes each vector once. Its difference
``d`` is checked before anything is written; the pass stops at a block that is not finite, and the
blocks before it stay applied: an exchange is valid element by element. What is written equals the
same formula in torch, bit for bit.

Every pass works on the elements ``start <= k < stop`` of float32 vectors of shape (n,) and returns
``(reached, squared_norm, checksum)``: it applied ``start <= k < reached``, ``|d|^2`` of those
(a float32 sum per block; infinite where a finite ``d`` is above about 1e19), and their ``r . d`` in
float64 with the int8 signs ``r`` of the ledger (0.0 for ``NO_SIGNS``).

Compiled when first imported and then cached, so that no exchange ever waits for a compiler.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

from ray_easgd.compiled import compiled

Vector = NDArray[np.float32]
Signs = NDArray[np.int8]
Passed = tuple[int, float, float]

NO_SIGNS: Signs = np.empty(0, np.int8)
"""In place of the ledger's signs where there is no ledger."""

_BLOCK = 1024  # elements
_ONE: Any = np.float32(1)


# The sum of squares tells: it is finite unless a difference is not, or is above about 1e19. In any
# order, or it would not vectorize; that much of the compiler's fast-math, which belongs to a
# function, leaves NaN and infinity alone.
@compiled(fastmath={"reassoc"})
def _squared_norm(x: Vector, c: Vector, rate: float) -> float:
    total = np.float32(0)
    for k in range(x.size):
        d = (x[k] - c[k]) * rate
        total += d * d
    return float(total)


@compiled()
def _is_finite(norm: float, x: Vector, c: Vector, rate: float) -> bool:
    return bool(np.isfinite(norm) or np.isfinite((x - c) * rate).all())


@compiled(fastmath={"reassoc"})
def _signed_sum(x: Vector, c: Vector, rate: float, signs: Signs) -> float:
    total = 0.0
    for k in range(signs.size):
        total += np.float64(np.float32(signs[k]) * ((x[k] - c[k]) * rate))
    return total


@compiled("(f4[::1], f4[::1], f4, i8, i8, i1[::1])")
def elastic(x: Vector, c: Vector, rate: float, start: int, stop: int, signs: Signs) -> Passed:
    """``d = rate (x - c); x <- x - d; c <- c + d``. Leaves ``x + c`` as it was, up to rounding."""
    norm, checksum = 0.0, 0.0
    while start < stop:
        block = slice(start, min(start + _BLOCK, stop))
        x_, c_ = x[block], c[block]
        squared_norm = _squared_norm(x_, c_, rate)
        if not _is_finite(squared_norm, x_, c_, rate):
            break
        if signs.size:
            checksum += _signed_sum(x_, c_, rate, signs[block])
        for k in range(x_.size):
            d = (x_[k] - c_[k]) * rate
            x_[k] -= d
            c_[k] += d
        norm += squared_norm
        start += x_.size
    return start, norm, checksum


@compiled("(f4[::1], f4[::1], f4, f4[::1], i8, i8, i1[::1])")
def elastic_later(
    x: Vector, c: Vector, rate: float, out: Vector, start: int, stop: int, signs: Signs
) -> Passed:
    """``d = rate (x - c); c <- c + d; out <- d``. The caller owes ``x <- x - out``."""
    norm, checksum = 0.0, 0.0
    while start < stop:
        block = slice(start, min(start + _BLOCK, stop))
        x_, c_, out_ = x[block], c[block], out[block]
        squared_norm = _squared_norm(x_, c_, rate)
        if not _is_finite(squared_norm, x_, c_, rate):
            break
        if signs.size:
            checksum += _signed_sum(x_, c_, rate, signs[block])
        for k in range(x_.size):
            d = (x_[k] - c_[k]) * rate
            c_[k] += d
            out_[k] = d
        norm += squared_norm
        start += x_.size
    return start, norm, checksum


@compiled("(f4[::1], f4[::1], f4, f4[::1], i8, i8, i1[::1])")
def apart(
    x: Vector, c: Vector, rate: float, out: Vector, start: int, stop: int, signs: Signs
) -> Passed:
    """``d = rate (x - c); out <- d``, for a ``c`` that is a copy. Moves neither end."""
    norm, checksum = 0.0, 0.0
    while start < stop:
        block = slice(start, min(start + _BLOCK, stop))
        x_, c_, out_ = x[block], c[block], out[block]
        squared_norm = _squared_norm(x_, c_, rate)
        if not _is_finite(squared_norm, x_, c_, rate):
            break
        if signs.size:
            checksum += _signed_sum(x_, c_, rate, signs[block])
        for k in range(x_.size):
            out_[k] = (x_[k] - c_[k]) * rate
        norm += squared_norm
        start += x_.size
    return start, norm, checksum


@compiled("(f4[::1], f4[::1], f4, f4[::1], i8, i8, i1[::1])")
def apart_and_move(
    x: Vector, c: Vector, rate: float, out: Vector, start: int, stop: int, signs: Signs
) -> Passed:
    """``d = rate (x - c); out <- d; x <- x - d``, for a ``c`` that is a copy."""
    norm, checksum = 0.0, 0.0
    while start < stop:
        block = slice(start, min(start + _BLOCK, stop))
        x_, c_, out_ = x[block], c[block], out[block]
        squared_norm = _squared_norm(x_, c_, rate)
        if not _is_finite(squared_norm, x_, c_, rate):
            break
        if signs.size:
            checksum += _signed_sum(x_, c_, rate, signs[block])
        for k in range(x_.size):
            d = (x_[k] - c_[k]) * rate
            x_[k] -= d
            out_[k] = d
        norm += squared_norm
        start += x_.size
    return start, norm, checksum


@compiled("(f4[::1], f4[::1], f4[::1], i8, i8, i1[::1])")
def take_over(x: Vector, base: Vector, c: Vector, start: int, stop: int, signs: Signs) -> Passed:
    """``d = x - base; c <- c + d; x <- c; base <- c``. Leaves ``x = base = c``."""
    norm, checksum = 0.0, 0.0
    while start < stop:
        block = slice(start, min(start + _BLOCK, stop))
        x_, base_, c_ = x[block], base[block], c[block]
        squared_norm = _squared_norm(x_, base_, _ONE)
        if not _is_finite(squared_norm, x_, base_, _ONE):
            break
        if signs.size:
            checksum += _signed_sum(x_, base_, _ONE, signs[block])
        for k in range(x_.size):
            c_[k] += x_[k] - base_[k]
            x_[k] = c_[k]
            base_[k] = c_[k]
        norm += squared_norm
        start += x_.size
    return start, norm, checksum


@compiled("(Array(f4, 1, 'C', readonly=True), f4[::1], i8, i8, i1[::1])")
def add(d: Vector, c: Vector, start: int, stop: int, signs: Signs) -> Passed:
    """``c <- c + d``, for a ``d`` that was computed elsewhere. ``d`` may be read-only."""
    zero = np.zeros(_BLOCK, np.float32)
    norm, checksum = 0.0, 0.0
    while start < stop:
        block = slice(start, min(start + _BLOCK, stop))
        d_, c_ = d[block], c[block]
        squared_norm = _squared_norm(d_, zero[: d_.size], _ONE)
        if not _is_finite(squared_norm, d_, zero[: d_.size], _ONE):
            break
        if signs.size:
            checksum += _signed_sum(d_, zero[: d_.size], _ONE, signs[block])
        for k in range(d_.size):
            c_[k] += d_[k]
        norm += squared_norm
        start += d_.size
    return start, norm, checksum


def _fence(_typing: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return numba.types.none(), generate


_emit_fence: Any = intrinsic(_fence)


@compiled("()")
def fence() -> None:
    """Others see what this thread wrote before it no later than what it writes after it.

    Likewise for what it reads.
    """
    _emit_fence()
