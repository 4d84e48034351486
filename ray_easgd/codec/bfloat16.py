"""bfloat16 as a wire format: the upper half of a float32's bits, rounded to nearest even.

One part: ``codes``, uint16 of shape (n,). ``|d - decoded| <= 2**-8 |d|``, or ``2**-134`` where d
is denormal. What would round to infinity becomes the largest finite bfloat16, about 3.39e38, under
the same bound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ray_easgd.codec.arrays import Parts, Vector
from ray_easgd.compiled import compiled

_MAGNITUDE = np.uint32(0x7FFFFFFF)
_SIGN = np.uint32(0x8000)
_INFINITY = np.uint32(0x7F800000)
_LARGEST = np.uint32(0x7F7F)
_BELOW_HALF = np.uint32(0x7FFF)
_ONE = np.uint32(1)
_HALF_WORD = np.uint32(16)
_CHUNK = 1 << 11  # elements; a chunk of all three vectors stays in the first-level cache


def encode(values: Vector, *, rewrite: bool) -> Parts | None:
    """None where an element is not finite; with ``rewrite``, ``values`` become what is decoded."""
    codes = np.empty(values.size, np.uint16)
    return (codes,) if _encode(values, codes, rewrite) else None


def encode_from(base: Vector, c: Vector) -> Parts | None:
    """``c - base``, in one pass over both."""
    codes = np.empty(c.size, np.uint16)
    return (codes,) if _encode_from(base, c, codes) else None


def decode(parts: Parts, out: Vector) -> None:
    """``out = d``."""
    (codes,) = parts
    _decode(codes, out)


def add(parts: Parts, c: Vector) -> None:
    """``c += d``."""
    (codes,) = parts
    _add(codes, c)


def decode_onto(base: Vector, parts: Parts, out: Vector) -> None:
    """``out = base + d``."""
    (codes,) = parts
    _decode_onto(base, codes, out)


@compiled()
def _encode(values: Vector, codes: NDArray[np.uint16], rewrite: bool) -> bool:
    for start in range(0, values.size, _CHUNK):
        d, code = values[start : start + _CHUNK], codes[start : start + _CHUNK]
        bits = d.view(np.uint32)
        largest = np.uint32(0)
        for k in range(bits.size):
            magnitude = np.uint32(bits[k] & _MAGNITUDE)
            largest = max(largest, magnitude)
            even = np.uint32((bits[k] >> _HALF_WORD) & _ONE)
            rounded = np.uint32(np.uint32(magnitude + _BELOW_HALF + even) >> _HALF_WORD)
            code[k] = np.uint32((bits[k] >> _HALF_WORD) & _SIGN) | min(rounded, _LARGEST)
        if largest >= _INFINITY:
            return False
        if rewrite:
            _decode(code, d)
    return True


@compiled()
def _encode_from(base: Vector, c: Vector, codes: NDArray[np.uint16]) -> bool:
    difference = np.empty(_CHUNK, np.float32)
    for start in range(0, c.size, _CHUNK):
        moved, origin = c[start : start + _CHUNK], base[start : start + _CHUNK]
        d = difference[: moved.size]
        for k in range(d.size):
            d[k] = moved[k] - origin[k]
        if not _encode(d, codes[start : start + _CHUNK], False):
            return False
    return True


@compiled()
def _decode(codes: NDArray[np.uint16], out: Vector) -> None:
    for k in range(out.size):
        out[k] = np.uint32(np.uint32(codes[k]) << _HALF_WORD).view(np.float32)


@compiled()
def _add(codes: NDArray[np.uint16], c: Vector) -> None:
    for k in range(c.size):
        c[k] += np.uint32(np.uint32(codes[k]) << _HALF_WORD).view(np.float32)


@compiled()
def _decode_onto(base: Vector, codes: NDArray[np.uint16], out: Vector) -> None:
    for k in range(out.size):
        out[k] = base[k] + np.uint32(np.uint32(codes[k]) << _HALF_WORD).view(np.float32)
