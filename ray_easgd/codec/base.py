"""Coded pulls: the center goes out as its difference to a base that all children share.

The hub keeps one base, not one per child, and its children each hold it: 4n bytes at either end.
A publication costs the bytes of one coded difference, a renewal 4n bytes for every child.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ray_easgd.codec import int8
from ray_easgd.codec.formats import Coded, encode_from
from ray_easgd.protocol import Version, WireFormat

TOLERANCE = 2.0**-9
"""How large the error of a coded center may be, in units of the base's norm. Rounding the center
itself to bfloat16 would cost about this much."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Publication:
    """One center as it goes out.

    ``base`` names what it is coded against by the version that was. With ``coded`` None that is
    this center itself: it goes out whole, and is the base from now on. Else a child that lacks the
    base fetches it, whatever it missed, and has ``decode_onto(its vector, coded)``.
    """

    base: Version
    coded: Coded | None

    @property
    def renews(self) -> bool:
        """Whether this center, whole, is a new base."""
        return self.coded is None


class SharedBase:
    """The hub's side: what to send, and when to renew the base. It keeps a copy of the base.

    Not thread-safe.

    A base serves ``renew_every`` publications for each child. It is also renewed when the vector's
    length changes, when ``c - base`` is not finite, and when rounding would cost more than
    ``TOLERANCE``. The last can only happen in int8, where one large element makes its whole block
    coarse; in bfloat16 each element errs by at most 2**-8 of its own way from the base. float32 has
    nothing to gain from a difference: there every publication is whole and no copy is kept.

    The error in int8 is at most ``max |c - base| / 254`` of the block. It does not add up: every
    publication codes the center anew. Where the center drifts steadily, the error's norm
    after k publications is about 0.007 k of its way between two of them; renewals add at most
    ``4 / renew_every`` to what int8 itself costs a child.
    """

    def __init__(self, form: WireFormat, *, renew_every: int = 32) -> None:
        self.format: WireFormat = form
        self.renew_every = renew_every
        self._base: Tensor | None = None
        self._version: Version | None = None
        self._norm = 0.0
        self._published = 0

    def publish(self, version: Version, c: Tensor, *, children: int = 1) -> Publication:
        """``c`` of shape (n,), the center at ``version``, as it goes out. Only reads ``c``."""
        coded = self._difference(c, children)
        if coded is None:
            self._renew(version, c)
        self._published += 1
        assert self._version is not None
        return Publication(base=self._version, coded=coded)

    def _difference(self, c: Tensor, children: int) -> Coded | None:
        """None where the base has to be renewed."""
        if self._base is None or self._base.numel() != c.numel():
            return None
        if self._published >= self.renew_every * max(1, children):
            return None
        coded = encode_from(self._base, c, self.format)
        if coded is None or _expected_error(coded) > TOLERANCE * self._norm:
            return None
        return coded

    def _renew(self, version: Version, c: Tensor) -> None:
        self._version, self._published = version, 0
        if self.format != "float32":
            self._base = c.clone()
            self._norm = float(torch.linalg.vector_norm(c, dtype=torch.float64))


def _expected_error(coded: Coded) -> float:
    return int8.expected_error(coded.parts) if coded.format == "int8" else 0.0
