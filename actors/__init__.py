"""The Ray runtime of ray-easgd: processes, messages, failures. No arithmetic of its own."""

from ray_easgd.protocol import PROTOCOL

__all__ = ["PROTOCOL"]
