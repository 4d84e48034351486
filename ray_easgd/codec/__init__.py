"""Wire formats for the vectors between a child and its hub: float32, bfloat16, int8.

A push codes the elastic difference ``d``; a pull codes the center minus a base that all children
share.
"""

from ray_easgd.codec.base import Publication, SharedBase
from ray_easgd.codec.formats import (
    Coded,
    add_,
    decode,
    decode_onto,
    encode,
    encode_,
    encode_from,
)

__all__ = [
    "Coded",
    "Publication",
    "SharedBase",
    "add_",
    "decode",
    "decode_onto",
    "encode",
    "encode_",
    "encode_from",
]
