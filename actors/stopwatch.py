"""How long messages take, measured where they are waited for."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_RECENT = 3


class Stopwatch:
    """Of calls that one thread makes one after the other; read by any."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._since: float | None = None
        self.total_s = 0.0

    def timed(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call's value; one that raises counts for nothing."""
        self._since = began = time.monotonic()
        try:
            value = call(*args, **kwargs)
            self._recent.append(took_s := time.monotonic() - began)
            self.total_s += took_s
            return value
        finally:
            self._since = None

    @property
    def quickest_s(self) -> float:
        """The least of the last few, which a busy machine seldom spoils; NaN before the first."""
        return min(list(self._recent), default=math.nan)

    @property
    def under_way_s(self) -> float:
        """How long a call has been under way; 0 where none is."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since
