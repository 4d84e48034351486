"""A desk spoken to by messages, for a vector on a device: its thread shall not walk over memory.

Who calls here does that, in the background.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ray_easgd.errors import HubLost
from ray_easgd.link import Snapshot
from ray_easgd.protocol import PushHeader, PushReply, SnapshotHeader, Version
from ray_easgd.shared.walk import FEW_PARTS
from ray_easgd.wire import Payload, decoded

if TYPE_CHECKING:
    from torch import Tensor

    from ray_easgd.shared.desk import Desk
    from ray_easgd.shared.passes import Vector

_MOST_TRIES = 10


class Clerk:
    """Brings snapshots from one life's desk, and takes pushes there. Any thread may call.

    What finds a stripe busy goes with the next push: its sender has moved by it already.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        desk.walk_in(FEW_PARTS)
        self._lock = Lock()
        self._applied = 0
        self._rest: Vector | None = None
        self._is_open = True

    def fetch(self, out: Tensor) -> Snapshot:
        """The center as it is now, in ``out``, shape (n,). HubLost after ``close``."""
        with self._lock:
            self._check()
            header = SnapshotHeader(
                version=self.desk.version,
                moving_rate=self.desk.moving_rate,
                applied={self.desk.incarnation: self._applied},
            )
            self.desk.read(out.numpy())
            return Snapshot(header, out)

    def apply(self, header: PushHeader, payload: Payload) -> PushReply:
        """Add a difference to the center; it stays as it is. HubLost after ``close``."""
        with self._lock:
            self._check()
            d = decoded(payload).numpy()
            if self._rest is not None:
                d = d + self._rest
            meeting = self.desk.add(d, steps=header.steps, progress=header.progress)
            self._applied, self._rest = header.sequence, _part(d, meeting.missed)
            return PushReply(
                outcome=meeting.outcome,
                version=Version(self.desk.hub_epoch, meeting.version_count),
                staleness=max(0, meeting.version_count - 1 - header.computed_from.count),
                sequence=header.sequence,
            )

    def settle(self) -> None:
        """Bring what found stripes busy, and the data behind it; some tries, without waiting."""
        for _ in range(_MOST_TRIES):
            with self._lock:
                if not self._is_open or (self._rest is None and self.desk.is_told):
                    return
                d = self._rest if self._rest is not None else _nothing(self.desk)
                self._rest = _part(d, self.desk.add(d, steps=0).missed)

    def close(self) -> None:
        """Nobody is at the desk afterwards."""
        with self._lock:
            self._is_open = False

    def _check(self) -> None:
        if not self._is_open:
            raise HubLost("the hub", "this child has left its memory")


def _part(d: Vector, ranges: tuple[tuple[int, int], ...]) -> Vector | None:
    """``d`` in these ranges, zero elsewhere; None where there are none."""
    if not ranges:
        return None
    part = np.zeros_like(d)
    for start, stop in ranges:
        part[start:stop] = d[start:stop]
    return part


def _nothing(desk: Desk) -> Vector:
    return np.zeros(desk.size, np.float32)
