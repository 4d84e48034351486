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
_MAGNITUDE = np.int32(0x7FFFFFFF)
_INFINITY = np.int32(0x7F800000)


# Sums in any order, or they would not vectorize. Kept apart from everything that is checked: the
# compiler's fast-math belongs to a function.
@compiled(fastmath={"reassoc"})
def _squared_norm(d: Vector, size: int) -> float:
    total = np.float32(0)
    for k in range(size):
        total += d[k] * d[k]
    return float(total)


@compiled(fastmath={"reassoc"})
def _signed_sum(signs: Signs, d: Vector, size: int) -> float:
    total = 0.0
    for k in range(size):
        total += np.float64(np.float32(signs[k]) * d[k])
    return total


@compiled("(f4[::1], f4[::1], f4, i8, i8, i1[::1])")
def elastic(x: Vector, c: Vector, rate: float, start: int, stop: int, signs: Signs) -> Passed:
    """``d = rate (x - c); x <- x - d; c <- c + d``. Leaves ``x + c`` as it was, up to rounding."""
    d = np.empty(_BLOCK, np.float32)
    bits = d.view(np.int32)
    norm, checksum = 0.0, 0.0
    while start < stop:
        size = min(_BLOCK, stop - start)
        block = slice(start, start + size)
        x_, c_ = x[block], c[block]
        largest = np.int32(0)
        for k in range(size):
            d[k] = (x_[k] - c_[k]) * rate
            largest = max(largest, bits[k] & _MAGNITUDE)
        if largest >= _INFINITY:
            break
        for k in range(size):
            x_[k] -= d[k]
            c_[k] += d[k]
        norm += _squared_norm(d, size)
        if signs.size:
            checksum += _signed_sum(signs[block], d, size)
        start += size
    return start, norm, checksum


@compiled("(f4[::1], f4[::1], f4, f4[::1], i8, i8, i1[::1])")
def elastic_later(
    x: Vector, c: Vector, rate: float, out: Vector, start: int, stop: int, signs: Signs
) -> Passed:
    """``d = rate (x - c); c <- c + d; out <- d``. The caller owes ``x <- x - out``."""
    d = np.empty(_BLOCK, np.float32)
    bits = d.view(np.int32)
    norm, checksum = 0.0, 0.0
    while start < stop:
        size = min(_BLOCK, stop - start)
        block = slice(start, start + size)
        x_, c_, out_ = x[block], c[block], out[block]
        largest = np.int32(0)
        for k in range(size):
            d[k] = (x_[k] - c_[k]) * rate
            largest = max(largest, bits[k] & _MAGNITUDE)
        if largest >= _INFINITY:
            break
        for k in range(size):
            c_[k] += d[k]
            out_[k] = d[k]
        norm += _squared_norm(d, size)
        if signs.size:
            checksum += _signed_sum(signs[block], d, size)
        start += size
    return start, norm, checksum


@compiled("(f4[::1], f4[::1], f4, f4[::1], i8, i8, i1[::1])")
def apart(
    x: Vector, c: Vector, rate: float, out: Vector, start: int, stop: int, signs: Signs
) -> Passed:
    """``d = rate (x - c); out <- d``, for a ``c`` that is a copy. Moves neither end."""
    d = np.empty(_BLOCK, np.float32)
    bits = d.view(np.int32)
    norm, checksum = 0.0, 0.0
    while start < stop:
        size = min(_BLOCK, stop - start)
        block = slice(start, start + size)
        x_, c_, out_ = x[block], c[block], out[block]
        largest = np.int32(0)
        for k in range(size):
            d[k] = (x_[k] - c_[k]) * rate
            largest = max(largest, bits[k] & _MAGNITUDE)
        if largest >= _INFINITY:
            break
        for k in range(size):
            out_[k] = d[k]
        norm += _squared_norm(d, size)
        if signs.size:
            checksum += _signed_sum(signs[block], d, size)
        start += size
    return start, norm, checksum


@compiled("(f4[::1], f4[::1], f4, f4[::1], i8, i8, i1[::1])")
def apart_and_move(
    x: Vector, c: Vector, rate: float, out: Vector, start: int, stop: int, signs: Signs
) -> Passed:
    """``d = rate (x - c); out <- d; x <- x - d``, for a ``c`` that is a copy."""
    d = np.empty(_BLOCK, np.float32)
    bits = d.view(np.int32)
    norm, checksum = 0.0, 0.0
    while start < stop:
        size = min(_BLOCK, stop - start)
        block = slice(start, start + size)
        x_, c_, out_ = x[block], c[block], out[block]
        largest = np.int32(0)
        for k in range(size):
            d[k] = (x_[k] - c_[k]) * rate
            largest = max(largest, bits[k] & _MAGNITUDE)
        if largest >= _INFINITY:
            break
        for k in range(size):
            x_[k] -= d[k]
            out_[k] = d[k]
        norm += _squared_norm(d, size)
        if signs.size:
            checksum += _signed_sum(signs[block], d, size)
        start += size
    return start, norm, checksum


@compiled("(f4[::1], f4[::1], f4[::1], i8, i8, i1[::1])")
def take_over(x: Vector, base: Vector, c: Vector, start: int, stop: int, signs: Signs) -> Passed:
    """``d = x - base; c <- c + d; x <- c; base <- c``. Leaves ``x = base = c``."""
    d = np.empty(_BLOCK, np.float32)
    bits = d.view(np.int32)
    norm, checksum = 0.0, 0.0
    while start < stop:
        size = min(_BLOCK, stop - start)
        block = slice(start, start + size)
        x_, base_, c_ = x[block], base[block], c[block]
        largest = np.int32(0)
        for k in range(size):
            d[k] = x_[k] - base_[k]
            largest = max(largest, bits[k] & _MAGNITUDE)
        if largest >= _INFINITY:
            break
        for k in range(size):
            c_[k] += d[k]
            x_[k] = c_[k]
            base_[k] = c_[k]
        norm += _squared_norm(d, size)
        if signs.size:
            checksum += _signed_sum(signs[block], d, size)
        start += size
    return start, norm, checksum


@compiled("(Array(f4, 1, 'C', readonly=True), f4[::1], i8, i8, i1[::1])")
def add(d: Vector, c: Vector, start: int, stop: int, signs: Signs) -> Passed:
    """``c <- c + d``, for a ``d`` that was computed elsewhere. ``d`` may be read-only."""
    bits = d.view(np.int32)
    norm, checksum = 0.0, 0.0
    while start < stop:
        size = min(_BLOCK, stop - start)
        block = slice(start, start + size)
        d_, c_, bits_ = d[block], c[block], bits[block]
        largest = np.int32(0)
        for k in range(size):
            largest = max(largest, bits_[k] & _MAGNITUDE)
        if largest >= _INFINITY:
            break
        for k in range(size):
            c_[k] += d_[k]
        norm += _squared_norm(d_, size)
        if signs.size:
            checksum += _signed_sum(signs[block], d_, size)
        start += size
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
