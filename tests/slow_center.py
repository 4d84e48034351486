"""A center behind a line that can be made slow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from actors.center import Center
from ray_easgd.protocol import PushHeader, PushReply

if TYPE_CHECKING:
    from ray_easgd.codec import Coded


class SlowCenter(Center):
    """Each push takes as much longer as was last asked for."""

    _delay_s = 0.0

    @ray.method(concurrency_group="control")
    def be_slow(self, delay_s: float) -> None:
        self._delay_s = delay_s

    @ray.method(concurrency_group="data")
    def push(self, header: PushHeader, d: np.ndarray | Coded, part: int) -> PushReply:
        time.sleep(self._delay_s)
        push: Any = super().push  # Ray types it as a remote method
        reply: PushReply = push(header, d, part)
        return reply
