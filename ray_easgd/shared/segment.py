"""A hub's vector in memory that other processes of its node can map.

The memory lies behind a file without a name: nothing is left over when its last process is gone,
however that died, and the small /dev/shm of a container does not limit it. Another process reaches
it through any process that has it, at ``/proc/PID/fd/N``: so every child can let in the successor
of a hub that died.
"""

from __future__ import annotations

import errno
import mmap
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from ray_easgd.errors import EasgdError
from ray_easgd.shared.board import Board, is_board, vector_offset, write_header
from ray_easgd.shared.passes import Vector
from ray_easgd.shared.room import huge_page_bytes, huge_room_bytes, room_bytes
from ray_easgd.shared.stripes import stripe_size

_NAME = "ray-easgd"
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, Linux 5.14


class SharedMemoryUnavailable(EasgdError):
    """A segment that cannot be made or reached from here. Says why; exchange some other way."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process of this node finds a segment: open file ``fd`` of process ``pid``.

    ``token`` is written in the segment, so that a reused pid, or one that means another process
    here (a container's own numbering), is noticed.
    """

    pid: int
    fd: int
    token: str


class Segment:
    """Shared memory that holds ``vector``, float32 of shape (n,), and its ``board``.

    Views that were taken keep the memory alive after ``close``.
    """

    def __init__(self, fd: int, memory: mmap.mmap, token: str) -> None:
        self.fd, self._memory, self._token = fd, memory, token
        self.board = Board(memory)
        at = vector_offset(self.board.n, self.board.num_rows)
        self.vector: Vector = np.frombuffer(memory, np.float32, self.board.n, at)

    @classmethod
    def create(cls, n: int, *, rows: int = 256) -> Segment:
        """Zeroed memory for ``n`` elements and up to ``rows`` children at a time.

        All of it is taken now: a lack of memory is an error here, not a signal later. Raises
        SharedMemoryUnavailable.
        """
        if n < 1 or rows < 1:
            raise ValueError(f"n = {n}, rows = {rows}: both must be positive")
        fd, memory = _allocate(vector_offset(n, rows) + 4 * n)
        token = secrets.token_hex(16)
        write_header(memory, n=n, rows=rows, stripe=stripe_size(n), token=token)
        return cls(fd, memory, token)

    @classmethod
    def open(cls, address: Address) -> Segment:
        """The segment that another process of this node has. Raises SharedMemoryUnavailable."""
        fd = _open_file(address)
        try:
            memory = _map(fd, os.fstat(fd).st_size)
        except (OSError, ValueError) as e:
            os.close(fd)
            raise SharedMemoryUnavailable(f"mapping {_path(address)} failed: {e}") from e
        if not is_board(memory, address.token):
            os.close(fd)
            raise SharedMemoryUnavailable(f"{_path(address)} is another segment than was meant")
        with suppress(OSError):  # only saves the first exchange its page faults
            memory.madvise(_POPULATE_WRITE)
        return cls(fd, memory, address.token)

    @property
    def address(self) -> Address:
        """This process's own way in, good while it lives and keeps the segment open."""
        return Address(os.getpid(), self.fd, self._token)

    def close(self) -> None:
        """Let go of the memory; it is freed when nobody has it. May be called again."""
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        del self.board, self.vector
        with suppress(BufferError):  # somebody here has a view: the memory goes with that
            self._memory.close()

    def __enter__(self) -> Segment:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _allocate(size: int) -> tuple[int, mmap.mmap]:
    """A new file and its mapping, on huge pages where there are any."""
    if not hasattr(os, "memfd_create"):
        raise SharedMemoryUnavailable("this system has no memory behind files without a name")
    huge = -(-size // huge_page_bytes()) * huge_page_bytes()
    if huge <= huge_room_bytes():
        with suppress(OSError):  # another process was faster
            return _reserve(huge, os.MFD_HUGETLB)
    room = room_bytes()
    if room is not None and size > room:
        raise SharedMemoryUnavailable(f"{size} bytes are needed, {room} are free")
    try:
        return _reserve(size, 0)
    except OSError as e:
        raise SharedMemoryUnavailable(f"the system gave no {size} bytes: {e}") from e


def _reserve(size: int, flags: int) -> tuple[int, mmap.mmap]:
    """``size`` bytes, all of them there. Raises OSError."""
    fd = os.memfd_create(_NAME, os.MFD_CLOEXEC | flags)
    try:
        os.ftruncate(fd, size)
        memory = _map(fd, size)
        try:
            memory.madvise(_POPULATE_WRITE)  # through the mapping: only that gives huge pages
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise
            os.posix_fallocate(fd, 0, size)
    except BaseException:
        os.close(fd)
        raise
    return fd, memory


def _map(fd: int, size: int) -> mmap.mmap:
    memory = mmap.mmap(fd, size)
    with suppress(OSError, AttributeError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _path(address: Address) -> Path:
    return Path(f"/proc/{address.pid}/fd/{address.fd}")


def _open_file(address: Address) -> int:
    """A new open file of the one at ``address``, if that is a segment's at all."""
    path = _path(address)
    try:
        target = str(path.readlink())
        # Opening may block or act on what it opens, so only what is surely ours is opened.
        if not target.startswith(f"/memfd:{_NAME}"):
            raise SharedMemoryUnavailable(f"{path} is {target}, not a segment")
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as e:
        raise SharedMemoryUnavailable(f"{path} is not there: that process is gone") from e
    except PermissionError as e:
        raise SharedMemoryUnavailable(f"{path} belongs to another user") from e
    except OSError as e:
        raise SharedMemoryUnavailable(f"{path} cannot be opened: {e}") from e
