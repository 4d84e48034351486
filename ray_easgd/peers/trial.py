"""One contender once: its processes are started, watched, struck, started again, and ended."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from ray_easgd.errors import Unavailable
from ray_easgd.journal import Entry, Journals
from ray_easgd.peers.contenders import Contender
from ray_easgd.peers.workload import Order, Workload
from ray_easgd.processes import end_family, family, memory_bytes

Whom = Literal["worker", "coordinator"]

_TICK_S = 0.2
_MEMORY_EVERY_S = 5.0
_END_WITHIN_S = 30.0
_MORE_LIVES = 2  # than strikes: a group may fall over while it meets again
_DRIVER = "driver"


@dataclass(frozen=True, kw_only=True)
class Strike:
    """Somebody is killed without warning, ``at_s`` after all have stepped, with all below it.

    A worker is the ``rank``-th, counted from the last.
    """

    at_s: float
    whom: Whom = "worker"
    rank: int = 0


@dataclass(frozen=True, kw_only=True)
class Growth:
    """So many workers are wanted, ``at_s`` after all have stepped."""

    at_s: float
    to: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done in a trial beside training.

    It ends ``seconds`` after all workers have stepped, or with the workload's samples; ``strikes``
    are in the order of time. ``limit_s``: it is given up.
    """

    seconds: float | None = None
    strikes: Sequence[Strike] = ()
    growth: Growth | None = None
    limit_s: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Struck:
    """Who was killed, by the name of its journal, at that Unix time."""

    at: float
    who: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a trial leaves. Moments are Unix times; ``reason`` tells why it did not end well."""

    contender: Contender
    order: Order
    entries: Mapping[str, Sequence[Entry]]
    began_at: float
    ended_at: float
    struck: Sequence[Struck]
    grown_at: float | None
    peak_memory_bytes: int
    bytes_between: int | None
    reason: str | None


class Place(Protocol):
    """Where the processes of a trial are."""

    @property
    def hosts(self) -> tuple[Mapping[str, str], ...]:
        """Namespace and address of each worker's, rank by rank; empty on one machine."""
        ...

    def command(self, rank: int, words: Sequence[str]) -> list[str]:
        """The command that runs ``words`` where that worker is."""
        ...

    def bytes_between(self) -> int | None:
        """That have gone from one to another; None on one machine."""
        ...


class Here:
    """All on this machine."""

    hosts: tuple[Mapping[str, str], ...] = ()

    def command(self, rank: int, words: Sequence[str]) -> list[str]:
        return list(words)

    def bytes_between(self) -> int | None:
        return None


class Trial:
    """``run`` it once. Nothing of it is alive afterwards."""

    def __init__(
        self,
        contender: Contender,
        workload: Workload,
        plan: Plan,
        *,
        folder: Path,
        python: Path,
        environment: Mapping[str, str],
        place: Place,
    ) -> None:
        self._place = place
        self._bytes: list[int] = []
        if contender.num_workers is not None:
            plan = replace(plan, growth=None)  # so many it is
        self._contender, self._plan, self._folder = contender, plan, folder
        self._python, self._environment = str(python), dict(environment)
        self._order = Order(
            workload=workload,
            folder=str(folder),
            began_at=time.time(),
            port=free_port(),
            host=place.hosts[0]["address"] if place.hosts else "127.0.0.1",
            hosts=place.hosts,
            num_workers=contender.num_workers or workload.num_workers,
            options=contender.options,
            checkpoints=bool(plan.strikes or plan.growth),
            grows_to=plan.growth.to if plan.growth else None,
        )
        self._journals = Journals(str(folder / "journals"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._companions: list[subprocess.Popen[bytes]] = []
        self._stepped_at: float | None = None
        self._struck: list[Struck] = []
        self._grown_at: float | None = None
        self._peak, self._measure_at = 0, 0.0

    def run(self) -> Outcome:
        """Until it ends, by itself or by its plan."""
        reason = None
        try:
            self._start()
            self._watch()
            self._count_bytes()
        except Unavailable as error:
            reason = error.reason
        finally:
            ended_at = time.time()
            self._end()
        self._journals.look()
        return Outcome(
            contender=self._contender,
            order=self._order,
            entries=self._journals.entries,
            began_at=self._order.began_at,
            ended_at=ended_at,
            struck=self._struck,
            grown_at=self._grown_at,
            peak_memory_bytes=self._peak,
            bytes_between=self._bytes[-1] - self._bytes[0] if self._bytes else None,
            reason=reason,
        )

    # -- processes -------------------------------------------------------------------------

    def _start(self) -> None:
        path = self._write_order()
        for program in self._contender.companions:
            self._companions.append(self._spawn(program.rpartition(".")[2], program, path))
        while self._companions and "coordinator" not in self._journals.entries:
            self._tick()
        for name in self._seats():
            self._seat(name, path)

    def _seats(self) -> list[str]:
        if self._contender.has_driver:
            return [_DRIVER]
        return [f"worker-{rank}" for rank in range(self._order.num_workers)]

    def _seat(self, name: str, order: Path) -> None:
        ranks = [] if name == _DRIVER else [name.rpartition("-")[2]]
        self._processes[name] = self._spawn(name, self._contender.program, order, *ranks)

    def _spawn(self, name: str, program: str, order: Path, *words: str) -> subprocess.Popen[bytes]:
        rank = int(words[0]) if words else 0
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self._place.command(rank, [self._python, "-m", program, str(order), *words]),
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C comes to us, and we end it
            )

    def _write_order(self) -> Path:
        path = self._folder / f"order-{self._order.lives}.json"
        self._order.write(path)
        return path

    # -- watching --------------------------------------------------------------------------

    def _watch(self) -> None:
        while self._processes and not self._is_over():
            self._tick()
            if not self._bytes and self._all_stepped_at() is not None:
                self._count_bytes()
            self._strike_if_due()
            self._grow_if_due()
            ended = {name: p.poll() for name, p in self._processes.items()}
            for name in [name for name, code in ended.items() if code == 0]:
                del self._processes[name]
            if lost := next((name for name, code in ended.items() if code), None):
                self._lost(lost, ended[lost])
        self._measure()

    def _tick(self) -> None:
        time.sleep(_TICK_S)
        self._journals.look()
        now = time.time()
        if now > self._order.began_at + self._plan.limit_s:
            raise Unavailable(self._contender.name, f"not done after {self._plan.limit_s:g} s")
        if now >= self._measure_at:
            self._measure_at = now + _MEMORY_EVERY_S
            self._measure()

    def _all_stepped_at(self) -> float | None:
        if self._stepped_at is None:
            first: dict[str, float] = {}
            for entry in self._journals.entries.get("step", ()):
                first.setdefault(entry.who, entry.at)
            if len(first) == self._order.num_workers:
                self._stepped_at = max(first.values())
                self._measure_at = 0.0  # a short trial may be over before it is due
        return self._stepped_at

    def _is_over(self) -> bool:
        since, seconds = self._all_stepped_at(), self._plan.seconds
        return since is not None and seconds is not None and time.time() >= since + seconds

    def _strike_if_due(self) -> None:
        since, strikes = self._all_stepped_at(), self._plan.strikes
        if since is None or len(self._struck) == len(strikes):
            return
        strike = strikes[len(self._struck)]
        if time.time() < since + strike.at_s:
            return
        rank = self._order.num_workers - 1 - strike.rank
        who = f"worker-{rank}" if strike.whom == "worker" else self._contender.coordinator
        self._struck.append(Struck(at=time.time(), who=who))
        end_family(self._pid_of(who))  # it may not be back from the last one

    def _grow_if_due(self) -> None:
        since, growth = self._all_stepped_at(), self._plan.growth
        if since is None or growth is None or self._grown_at is not None:
            return
        if time.time() < since + growth.at_s:
            return
        self._grown_at, before = time.time(), self._seats()
        self._order = replace(self._order, num_workers=growth.to)
        if self._contender.on_growth == "itself":
            self._order.growth.touch()
        elif self._contender.on_growth == "all":
            self._all_again()
        else:
            self._order = replace(self._order, lives=self._order.lives + 1)
            path = self._write_order()
            for seat in self._seats()[len(before) :]:
                self._seat(seat, path)

    def _pid_of(self, who: str) -> int:
        known = [
            e for kind in ("ready", "coordinator") for e in self._journals.entries.get(kind, ())
        ]
        newest = max((e for e in known if e.who == who), key=lambda e: e.at, default=None)
        if newest is None:
            raise Unavailable(self._contender.name, f"nobody told which process is its {who}")
        return int(newest.values.get("pid", newest.pid))

    def _lost(self, name: str, code: int | None) -> None:
        """A process of it ended badly: what its users would do then."""
        if not self._struck or self._order.lives > len(self._struck) + _MORE_LIVES:
            raise Unavailable(
                self._contender.name, f"{name} ended with code {code}: {self._said(name)}"
            )
        if self._contender.on_loss == "all":
            self._all_again()
            return
        self._order = replace(self._order, lives=self._order.lives + 1)
        self._seat(name, self._write_order())

    def _all_again(self) -> None:
        """From the newest snapshot, in a group of its own."""
        for process in self._processes.values():
            _kill(process)
        path, step = self._newest_snapshot()
        self._order = replace(
            self._order,
            lives=self._order.lives + 1,
            port=free_port(),
            resume=path,
            resume_step=step,
        )
        order = self._write_order()
        for seat in self._seats():
            self._seat(seat, order)

    def _newest_snapshot(self) -> tuple[str | None, int]:
        kept = self._journals.entries.get("snapshot", [])
        return (kept[-1].values["path"], kept[-1].values["clock"]) if kept else (None, 0)

    def _said(self, name: str) -> str:
        text = (self._folder / f"{name}.log").read_text("utf-8", errors="replace")
        return " ".join(text.split())[-300:]

    def _measure(self) -> None:
        mine = [*self._processes.values(), *self._companions]
        pids = {pid for process in mine for pid in family(process.pid)}
        self._peak = max(self._peak, sum(map(memory_bytes, pids)))

    def _count_bytes(self) -> None:
        if (count := self._place.bytes_between()) is not None:
            self._bytes.append(count)

    def _end(self) -> None:
        mine = [*self._processes.values(), *self._companions]
        if self._contender.has_driver:
            for process in mine:
                process.terminate()
            for process in mine:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_END_WITHIN_S)
        for process in mine:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        end_family(process.pid)
    process.wait()


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


OWN_PYTHON = Path(sys.executable)
