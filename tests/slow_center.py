"""A center behind a line that can be made slow."""

from __future__ import annotations

import time
from typing import Any

import ray

from actors.center import Center


class SlowCenter(Center):
    """Each push takes as much longer as was last asked for."""

    delay_s = 0.0

    @ray.method(concurrency_group="control")
    def be_slow(self, delay_s: float) -> None:
        self.delay_s = delay_s

    @ray.method(concurrency_group="data")
    def push(self, header: Any, d: Any, part: int) -> Any:
        time.sleep(self.delay_s)
        return super().push(header, d, part)
