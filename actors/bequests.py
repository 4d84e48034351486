"""What workers leave that had to go, until others come in their place. Imports no torch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_easgd.belongings import Belongings

MOST = 8  # each as large as a model and its optimizer
MOST_BYTES = 4 << 30  # of all but the newest
FRESH_S = 300.0  # who comes later than that begins at the center: it is nearer by then

Tell = Callable[[str], None]


class Bequests:
    """Each is taken once, the oldest first. What nobody takes in time is dropped; ``tell`` is told.

    Any thread may call. ``clock``: seconds that only rise.
    """

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._left: deque[tuple[float, Belongings]] = deque()
        self._lock = Lock()

    def leave(self, belongings: Belongings) -> None:
        """For who comes in its place."""
        with self._lock:
            self._left.append((self._clock(), belongings))
            while len(self._left) > MOST or self._num_older_bytes > MOST_BYTES:
                self._drop()
            self._drop_stale()

    def take(self) -> Belongings | None:
        """One, or None where nobody has left any lately."""
        with self._lock:
            self._drop_stale()
            return self._left.popleft()[1] if self._left else None

    def look(self) -> None:
        """Models are not kept for ever: drop what is not fresh any more."""
        with self._lock:
            self._drop_stale()

    def __len__(self) -> int:
        return len(self._left)

    @property
    def _num_older_bytes(self) -> int:
        return sum(left.num_bytes for _, left in list(self._left)[:-1])

    def _drop_stale(self) -> None:
        while self._left and self._clock() - self._left[0][0] >= FRESH_S:
            self._drop()

    def _drop(self) -> None:
        _, left = self._left.popleft()
        self._tell(
            f"what {left.owner} left when it had to go is dropped: nobody came in its place in "
            "time, so its displacement from the center is lost"
        )
