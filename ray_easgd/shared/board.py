"""What stands beside a shared vector: a header, and a row of books for each child.

Everything is 64 bits wide, aligned, and has one writer at a time, so that a reader needs no lock:

| what | who writes | |
|---|---|---|
| ``magic``, ``layout``, ``n``, ``rows``, ``stripe``, ``token`` | the creator, once | |
| ``hub_epoch``, ``moving_rate``, ``base_count`` | the hub | ``base_count``: pushes not in place |
| ``ledger`` | the hub | what ``r . c`` is but for the checksums of exchanges in place |
| ``wake_count`` | the hub | the version from which on children tell it of exchanges |
| ``incarnation`` | the hub | the life a row belongs to; 0 free, negative: dismissed |
| ``began`` | the hub | the row's ``sequence`` when that life began |
| ``sequence`` | the child | exchanges finished: raising it publishes one |
| ``entered`` | the child | the sequence it is working on; 0 between exchanges |
| ``records[row, sequence % 2]`` | the child | sums as of that sequence |
| ``records[row, SEEN]`` | the hub | the record its books hold |
| ``rings[row]`` | the child | the last data intervals: (epoch, start, stop) |

A child's books only ever grow, through all the lives that have a row, so the version is at any
moment ``base_count`` plus one sum, and nothing is ever folded into anything.

**Publishing.** A child writes the vector, then its new intervals and the record that is *not*
current, and raises ``sequence`` last: one store makes the exchange known, or it never was. A reader
takes ``sequence``, that record, and ``sequence`` again; unchanged, the record was not being
written, for the next exchange writes the other one. ``fence`` keeps that order on any processor.
An interval's place in the ring is used again only after the hub's record has passed it.
"""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

from ray_easgd.compiled import compiled
from ray_easgd.shared.passes import fence

MAGIC = b"rayeasgd"
LAYOUT = 3
NEVER = 2**62
RING = 64
"""Data intervals of one child that may wait for the hub."""
SEEN = 2

_PAGE = 4096
_HUGE = 1 << 21

_HEADER = np.dtype(
    [
        *(("magic", "S8"), ("token", "S32"), ("layout", "i8")),
        *(("n", "i8"), ("rows", "i8"), ("stripe", "i8")),
        *(("hub_epoch", "i8"), ("moving_rate", "f8"), ("base_count", "i8"), ("wake_count", "i8")),
        ("ledger", "f8"),
    ]
)
RECORD = np.dtype(
    [
        *(("sequence", "i8"), ("steps", "i8"), ("left_out", "i8"), ("num_intervals", "i8")),
        *(("checksum", "f8"), ("scale", "f8")),
    ]
)
"""Sums over all exchanges of a row: of gradient steps, of elements left out, of data intervals, of
``r . d`` and of its magnitude."""


@compiled()
def _publish(
    records: NDArray[np.void],
    sequences: NDArray[np.int64],
    row: int,
    steps: int,
    left_out: int,
    num_intervals: int,
    checksum: float,
) -> None:
    sequence = sequences[row]
    now, new = records[row, sequence % 2], records[row, (sequence + 1) % 2]
    new.sequence = sequence + 1
    new.steps = now.steps + steps
    new.left_out = now.left_out + left_out
    new.num_intervals = now.num_intervals + num_intervals
    new.checksum = now.checksum + checksum
    new.scale = now.scale + abs(checksum)
    fence()
    sequences[row] = sequence + 1


def vector_offset(n: int, rows: int) -> int:
    """Where the vector begins, in bytes: at a page, a huge one if the vector fills any."""
    books = _PAGE + rows * (4 * 8 + 3 * RECORD.itemsize + RING * 3 * 8)
    page = _HUGE if 4 * n >= _HUGE else _PAGE
    return -(-books // page) * page


def is_board(memory: mmap.mmap, token: str) -> bool:
    """Whether mapped memory is a segment of this layout with this token."""
    if len(memory) < _PAGE:
        return False
    header = np.frombuffer(memory, _HEADER, 1)
    return (
        bytes(header["magic"][0]) == MAGIC
        and int(header["layout"][0]) == LAYOUT
        and bytes(header["token"][0]).decode() == token
    )


def write_header(memory: mmap.mmap, *, n: int, rows: int, stripe: int, token: str) -> None:
    """Make zeroed memory a segment."""
    header = np.frombuffer(memory, _HEADER, 1)
    header["n"], header["rows"], header["stripe"] = n, rows, stripe
    header["token"], header["layout"] = token.encode(), LAYOUT
    header["wake_count"] = NEVER
    fence()
    header["magic"] = MAGIC


class Board:
    """The header and the rows, as views of the mapped memory."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._header = np.frombuffer(memory, _HEADER, 1)
        self.n, self.num_rows = int(self._header["n"][0]), int(self._header["rows"][0])
        self.stripe = int(self._header["stripe"][0])
        rows, at = self.num_rows, _PAGE
        columns = np.frombuffer(memory, np.int64, 4 * rows, at).reshape(4, rows)
        self.incarnation, self.began, self.sequence, self.entered = columns
        at += columns.nbytes
        self.records = np.frombuffer(memory, RECORD, 3 * rows, at).reshape(rows, 3)
        at += self.records.nbytes
        ring = np.frombuffer(memory, np.int64, 3 * RING * rows, at)
        self.rings: NDArray[np.int64] = ring.reshape(rows, RING, 3)

    @property
    def version_count(self) -> int:
        """Pushes applied so far, in place and otherwise."""
        return int(self._header["base_count"][0]) + int(self.sequence.sum())

    @property
    def base_count(self) -> int:
        return int(self._header["base_count"][0])

    @base_count.setter
    def base_count(self, count: int) -> None:
        self._header["base_count"] = count

    @property
    def ledger(self) -> float:
        return float(self._header["ledger"][0])

    @ledger.setter
    def ledger(self, sum_: float) -> None:
        self._header["ledger"] = sum_

    @property
    def wake_count(self) -> int:
        return int(self._header["wake_count"][0])

    @wake_count.setter
    def wake_count(self, count: int) -> None:
        self._header["wake_count"] = count

    @property
    def hub_epoch(self) -> int:
        return int(self._header["hub_epoch"][0])

    @hub_epoch.setter
    def hub_epoch(self, epoch: int) -> None:
        self._header["hub_epoch"] = epoch

    @property
    def moving_rate(self) -> float:
        return float(self._header["moving_rate"][0])

    @moving_rate.setter
    def moving_rate(self, rate: float) -> None:
        self._header["moving_rate"] = rate

    def record(self, row: int) -> NDArray[np.void]:
        """A copy, shape (1,), of what a row's child last published. Takes no lock."""
        while True:
            sequence = int(self.sequence[row])
            fence()
            record = self.records[row, sequence % 2 : sequence % 2 + 1].copy()
            fence()
            if int(self.sequence[row]) == sequence:
                return record

    def publish(
        self, row: int, *, steps: int, left_out: int, num_intervals: int, checksum: float
    ) -> None:
        """Add one exchange to a row's sums and make that known; for its child alone."""
        _publish(self.records, self.sequence, row, steps, left_out, num_intervals, checksum)
