"""Centers with one rule taken out, as actors: what chaos has to find out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from actors.center import Center
from ray_easgd.protocol import PushHeader, PushReply

if TYPE_CHECKING:
    from ray_easgd.codec import Coded


class DropsAPush(Center):
    """Says yes to every third push, and adds nothing."""

    _num_pushes = 0

    @ray.method(concurrency_group="data")
    def push(self, header: PushHeader, d: np.ndarray | Coded, part: int) -> PushReply:
        self._num_pushes += 1
        if self._num_pushes % 3 == 0:
            assert isinstance(d, np.ndarray)
            d = np.zeros_like(d)
        push: Any = super().push  # Ray types it as a remote method
        reply: PushReply = push(header, d, part)
        return reply


class AppliesOneTwice(Center):
    """Does not know what it has applied: a push that arrives again counts again."""

    @ray.method(concurrency_group="data")
    def push(self, header: PushHeader, d: np.ndarray | Coded, part: int) -> PushReply:
        applied = self._slices[part].hub._applied
        if applied.get(header.incarnation, 0) == header.sequence:
            applied[header.incarnation] -= 1
        push: Any = super().push  # Ray types it as a remote method
        reply: PushReply = push(header, d, part)
        return reply


class AcceptsTheDead(Center):
    """Takes whoever pushes for one of its children."""

    @ray.method(concurrency_group="data")
    def push(self, header: PushHeader, d: np.ndarray | Coded, part: int) -> PushReply:
        living = self._slices[part].hub._living
        living.setdefault(header.incarnation, "a ghost")
        push: Any = super().push  # Ray types it as a remote method
        reply: PushReply = push(header, d, part)
        return reply
