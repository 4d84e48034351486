"""Processes that exchange in shared memory, and what a test needs to stop and kill them.

They are forked from a server that has the imports done, so one starts in milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from ray_easgd.protocol import Outcome
from ray_easgd.shared import passes
from ray_easgd.shared.desk import Desk
from ray_easgd.shared.hall import Hall
from ray_easgd.shared.segment import Address, Segment

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
PATIENCE_S = 60.0


class Process:
    """A function running in a process of its own, with a pipe to it as its first argument."""

    def __init__(self, function: Callable[..., None], *args: Any) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=function, args=(theirs, *args), daemon=True)
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def tell(self, message: Any) -> None:
        self._pipe.send(message)

    def hear(self) -> Any:
        """The next message; EOFError if the process ended without one."""
        assert self._pipe.poll(PATIENCE_S), "nothing heard"
        return self._pipe.recv()

    @property
    def has_told(self) -> bool:
        """Whether a message waits to be heard."""
        return self._pipe.poll()

    def until_stopped(self) -> None:
        """Wait until the process, about to stop itself, is stopped."""
        status = Path(f"/proc/{self.pid}/stat")
        until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T")

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.join(PATIENCE_S)
        assert self._process.exitcode == -signal.SIGKILL

    def join(self) -> None:
        """Wait for its end, which must be a good one."""
        self._process.join(PATIENCE_S)
        assert self._process.exitcode == 0

    def clean_up(self) -> None:
        self._process.kill()
        self._process.join(PATIENCE_S)
        self._pipe.close()


@contextmanager
def process(function: Callable[..., None], *args: Any) -> Iterator[Process]:
    """A process that is gone when the block ends."""
    started = Process(function, *args)
    try:
        yield started
    finally:
        started.clean_up()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process is about to do."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        os.sched_yield()


def holders(segment_file: os.stat_result) -> set[int]:
    """The processes that have a segment open or mapped."""
    inode = str(segment_file.st_ino)
    return {
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and (_maps(folder, inode) or _has_open(folder, segment_file))
    }


def _maps(folder: Path, inode: str) -> bool:
    try:
        lines = (folder / "maps").read_text().splitlines()
    except OSError:
        return False
    return any("/memfd:ray-easgd" in line and line.split()[4] == inode for line in lines)


def _has_open(folder: Path, file: os.stat_result) -> bool:
    try:
        return any(
            "/memfd:ray-easgd" in str(fd.readlink()) and os.path.samestat(fd.stat(), file)
            for fd in (folder / "fd").iterdir()
        )
    except OSError:
        return False


# What the processes do. Each gets its end of the pipe, and how to reach its row.


def add_ones(pipe: Connection, address: Address, row: int, incarnation: int, times: int) -> None:
    """Add a vector of ones again and again; then tell what arrived, and in how many exchanges."""
    with Segment.open(address) as segment:
        desk = Desk(segment, row, incarnation)
        ones = np.ones(segment.board.n, np.float32)
        arrived, applied = np.zeros(segment.board.n), 0
        pipe.send("ready")
        pipe.recv()
        for _ in range(times):
            met = desk.add(ones, steps=1)
            if met.outcome is Outcome.REFUSED:
                break
            arrived += 1
            for start, stop in met.missed:
                arrived[start:stop] -= 1
            applied += 1
        pipe.send((arrived, applied))
        desk.close()


def meet_until_dismissed(pipe: Connection, address: Address, row: int, incarnation: int) -> None:
    """Elastic exchanges with a vector of ones, until refused; then tell ``x`` and their number."""
    with Segment.open(address) as segment:
        desk = Desk(segment, row, incarnation)
        x, applied = np.ones(segment.board.n, np.float32), 0
        while desk.elastic(x, steps=1).outcome is not Outcome.REFUSED:
            applied += 1
        pipe.send((x, applied))
        desk.close()


def stop_inside(pipe: Connection, address: Address, row: int, incarnation: int) -> None:
    """Add ones, and be stopped halfway through the first stripe; tell how it ended.

    Tells before it stops where it is: (start, half, stop).
    """
    add, is_first = passes.add, True

    def halfway(d: Any, c: Any, start: int, stop: int, signs: Any) -> Any:
        nonlocal is_first
        if not is_first:
            return add(d, c, start, stop, signs)
        is_first, half = False, (start + stop) // 2
        add(d, c, start, half, signs)
        pipe.send((start, half, stop))
        os.kill(os.getpid(), signal.SIGSTOP)
        return add(d, c, half, stop, signs)

    setattr(passes, "add", halfway)  # noqa: B010
    with Segment.open(address) as segment:
        desk = Desk(segment, row, incarnation)
        pipe.send(desk.add(np.ones(segment.board.n, np.float32), steps=1))
        pipe.send(desk.add(np.ones(segment.board.n, np.float32), steps=1))
        desk.close()


def be_hub(pipe: Connection, n: int, incarnations: list[int]) -> None:
    """Make a segment, admit, collect once when told, and go on until killed."""
    segment = Segment.create(n)
    hall = Hall(segment)
    hall.set_rate(0.25)
    hall.set_base_count(7)
    pipe.send((segment.address, [hall.admit(k) for k in incarnations]))
    pipe.recv()
    hall.collect()
    pipe.send("collected")
    pipe.recv()


def be_successor(pipe: Connection, address: Address) -> None:
    """Take a dead hub's segment over, and tell what is found."""
    with Segment.open(address) as segment:
        hall = Hall(segment)
        totals = hall.totals
        news = hall.collect()
        found = (hall.epoch, hall.lives, hall.applied, hall.version_count)
        pipe.send((*found, totals, news, hall.snapshot()))
        hall.close()


def hold(pipe: Connection, address: Address) -> None:
    """Have a segment open until told to end."""
    with Segment.open(address) as segment:
        pipe.send(segment.address)
        pipe.recv()
