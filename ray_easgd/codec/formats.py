"""Vectors as they travel between a child and its hub: coded at one end, decoded at the other.

Everywhere ``d`` is a contiguous float32 CPU tensor of shape (n,); ValueError otherwise. Both ends
apply the *decoded* d, bit for bit the same. What rounding drops stays in the child's ``x``: that is
the error feedback.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ray_easgd.codec import bfloat16, float32, int8
from ray_easgd.codec.arrays import Parts, Vector, read_only
from ray_easgd.protocol import WireFormat


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A vector of n elements, coded. Pickles without a copy of its parts (protocol 5).

    In float32 the part is the vector's own memory: do not write to that until this has left.
    """

    format: WireFormat
    n: int
    parts: Parts

    @property
    def nbytes(self) -> int:
        """What travels, without the pickle's few bytes."""
        return sum(part.nbytes for part in self.parts)


class _Coding(Protocol):
    """What each format's module does, on arrays of matching length."""

    def encode(self, values: Vector, *, rewrite: bool) -> Parts | None: ...
    def encode_from(self, base: Vector, c: Vector) -> Parts | None: ...
    def decode(self, parts: Parts, out: Vector) -> None: ...
    def add(self, parts: Parts, c: Vector) -> None: ...
    def decode_onto(self, base: Vector, parts: Parts, out: Vector) -> None: ...


_CODINGS: dict[WireFormat, _Coding] = {"float32": float32, "bfloat16": bfloat16, "int8": int8}


def encode(d: Tensor, form: WireFormat) -> Coded | None:
    """``d`` for the wire; None where an element is not finite."""
    return _coded(form, d.numel(), _CODINGS[form].encode(_array(d), rewrite=False))


def encode_(d: Tensor, form: WireFormat) -> Coded | None:
    """As ``encode``, and ``d`` becomes what ``decode`` gives. After a None ``d`` is spoilt."""
    return _coded(form, d.numel(), _CODINGS[form].encode(_array(d), rewrite=True))


def encode_from(base: Tensor, c: Tensor, form: WireFormat) -> Coded | None:
    """``c - base`` for the wire, in one pass; None where an element of it is not finite."""
    return _coded(form, c.numel(), _CODINGS[form].encode_from(_array(base, c.numel()), _array(c)))


def decode(coded: Coded, out: Tensor | None = None) -> Tensor:
    """What was coded, into ``out`` where that is given.

    Do not write to what comes without ``out``: in float32 it is the memory of ``coded``.
    """
    if out is None and coded.format == "float32":
        return torch.from_numpy(_unlocked(coded.parts[0]))
    result = _empty(coded.n) if out is None else out
    _CODINGS[coded.format].decode(_parts(coded), _array(result, coded.n))
    return result


def add_(c: Tensor, coded: Coded) -> Tensor:
    """``c += decode(coded)``, bit for bit, in one pass without a temporary. Returns ``c``."""
    _CODINGS[coded.format].add(_parts(coded), _array(c, coded.n))
    return c


def decode_onto(base: Tensor, coded: Coded, out: Tensor | None = None) -> Tensor:
    """``base + decode(coded)``, bit for bit, in one pass; into ``out`` where that is given."""
    result = _empty(coded.n) if out is None else out
    vectors = _array(base, coded.n), _parts(coded), _array(result, coded.n)
    _CODINGS[coded.format].decode_onto(*vectors)
    return result


def _coded(form: WireFormat, n: int, parts: Parts | None) -> Coded | None:
    return None if parts is None else Coded(form, n, parts)


def _parts(coded: Coded) -> Parts:
    return tuple(read_only(part) for part in coded.parts)


def _array(vector: Tensor, n: int | None = None) -> Vector:
    """The tensor's memory. The loops check nothing, so everything is checked here."""
    n = vector.numel() if n is None else n
    flat = vector.dtype == torch.float32 and vector.is_contiguous() and vector.is_cpu
    if not flat or vector.shape != (n,):
        raise ValueError(
            f"expected a contiguous float32 CPU tensor of shape ({n},), "
            f"got {vector.dtype} {tuple(vector.shape)} on {vector.device}"
        )
    array: Vector = vector.detach().numpy()
    return array


def _empty(n: int) -> Tensor:
    """numpy's memory rather than torch's: it asks for huge pages where a vector is large."""
    return torch.from_numpy(np.empty(n, np.float32))


class _Unlocked:
    """Shows a read-only array as one that may be written to: torch knows no other kind."""

    def __init__(self, array: Vector) -> None:
        self.array = array  # keeps the memory alive
        address = array.__array_interface__["data"][0]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def _unlocked(array: Vector) -> Vector:
    return np.asarray(_Unlocked(array))
