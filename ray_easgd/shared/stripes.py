"""The locks of a shared vector: one for each of its stripes, one for each child's row.

Open-file-description locks (fcntl(2)) on single bytes of the segment's file. The kernel frees them
when their holder dies; a holder that is merely stopped keeps them. So they are only ever *tried*,
and no method here waits.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_easgd.shared.segment import Segment

_SETLK = 37  # F_OFD_SETLK
_MOST, _LEAST, _ROUND = 1 << 17, 1 << 15, 1 << 10


def stripe_size(n: int) -> int:
    """Elements in a stripe: a sixteenth of the vector, between 32 Ki and 128 Ki.

    Large enough that its lock (3 us) costs little, small enough that leaving a busy one out does.
    """
    part = -(-n // (16 * _ROUND)) * _ROUND
    return min(_MOST, max(_LEAST, part))


class Stripes:
    """One holder's locks; holders must each have their own, threads of one process too.

    Made on an open file of its own, for that is what such a lock belongs to. After a fork both
    processes would hold the same locks: make it after.
    """

    def __init__(self, segment: Segment) -> None:
        size, n = segment.board.stripe, segment.board.n
        self.bounds = [(start, min(start + size, n)) for start in range(0, n, size)]
        """Where each stripe starts and stops."""
        bytes_ = range(len(self.bounds) + segment.board.num_rows)
        self._take = [_flock(fcntl.F_WRLCK, k, 1) for k in bytes_]
        self._free = [_flock(fcntl.F_UNLCK, k, 1) for k in bytes_]
        self._fd = os.open(f"/proc/self/fd/{segment.fd}", os.O_RDWR | os.O_CLOEXEC)

    def try_lock(self, k: int, count: int = 1) -> bool:
        """Lock stripe ``k``, or so many from there on; False if another holder has any."""
        try:
            take = self._take[k] if count == 1 else _flock(fcntl.F_WRLCK, k, count)
            fcntl.fcntl(self._fd, _SETLK, take)
        except (BlockingIOError, PermissionError):  # the two ways to say: taken
            return False
        return True

    def unlock(self, k: int, count: int = 1) -> None:
        """Free stripe ``k``, or so many from there on."""
        free = self._free[k] if count == 1 else _flock(fcntl.F_UNLCK, k, count)
        fcntl.fcntl(self._fd, _SETLK, free)

    def try_lock_row(self, row: int) -> bool:
        """Lock a child's row; False if another holder has it."""
        return self.try_lock(len(self.bounds) + row)

    def unlock_row(self, row: int) -> None:
        """Free a child's row."""
        self.unlock(len(self.bounds) + row)

    def close(self) -> None:
        """Free every lock held. May be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _flock(kind: int, byte: int, count: int) -> bytes:
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, count, 0)
