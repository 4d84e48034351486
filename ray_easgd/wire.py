"""What travels of a vector: itself, or coded. Compiled code is imported when a format needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

import torch
from torch import Tensor

from ray_easgd.kernels import is_finite
from ray_easgd.protocol import WireFormat

if TYPE_CHECKING:
    from ray_easgd.codec import Coded


@dataclass(frozen=True, slots=True)
class Parcel:
    """A vector of shape (n,) that a device is still copying to the CPU."""

    vector: Tensor
    landing: torch.cuda.Event

    @property
    def nbytes(self) -> int:
        """As it will travel on."""
        return self.vector.nbytes

    def landed(self) -> Tensor:
        """Wait for it; without the interpreter's lock."""
        self.landing.synchronize()
        return self.vector


Payload = Union[Tensor, Parcel, "Coded"]
"""A difference on its way, shape (n,)."""


def encoded(d: Tensor, wire_format: WireFormat) -> Payload | None:
    """``d`` as it travels; ``d`` itself becomes what the other end will decode.

    None where it is not finite.
    """
    if wire_format == "float32":
        return d if is_finite(d) else None
    from ray_easgd.codec import encode_

    return encode_(d, wire_format)


def warm_up(wire_format: WireFormat) -> None:
    """Load the compiled code now rather than in the first exchange: about a second."""
    if wire_format != "float32":
        from ray_easgd.codec import add_, decode, decode_onto, encode_, encode_from

        d = torch.zeros(1)
        for wire in (encode_(d, wire_format), encode_from(d, d, wire_format)):
            assert wire is not None
            add_(d, wire)
            decode(wire)
            decode_onto(d, wire)


def decoded(payload: Payload) -> Tensor:
    """As both ends apply it, shape (n,), on the CPU."""
    if isinstance(payload, Tensor):
        return payload
    if isinstance(payload, Parcel):
        return payload.landed()
    from ray_easgd.codec import decode

    return decode(payload)
