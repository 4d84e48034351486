"""The controller: hands out leases, and keeps what workers report until the driver fetches it.

It is not on the training path: each worker holds a lease more than it works on, and reports
without waiting. It imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import ray

from actors.lifecycle import as_actor, beside_the_driver
from actors.posts import Hub, Posts
from ray_easgd.leases import LeaseBook
from ray_easgd.progress import Progress
from ray_easgd.protocol import Interval

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.center import Center
    from actors.hub_slice import HubStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerStatus:
    """One life of a worker at a glance.

    ``first_step_at``: wall clock, seconds since 1970; ``hub``: the
    aggregator it is under, if any.
    """

    name: str
    life: int
    device: str
    step: int = 0
    samples: int = 0
    exchanges: int = 0
    exchanges_late: int = 0
    restarts: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    steps_per_s: float = 0.0
    loss: float = float("nan")
    distance: float = float("nan")
    staleness: float = float("nan")
    first_step_at: float | None = None
    hub: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """What a worker reports: a number (``value``) or an event (``message``), at a wall time.

    ``user`` marks the numbers of ``session.report``.
    """

    at: float
    source: str
    name: str
    step: int = 0
    value: float | None = None
    message: str = ""
    user: bool = False
    details: Mapping[str, object] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Book:
    """The lease book at a glance; ``opened`` is False until a worker has asked for data."""

    opened: bool
    done: bool = False
    missed: int = 0
    total: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Census:
    """Who belongs to a run: the center's shards, aggregators, and the workers that are not gone."""

    centers: tuple[ActorProxy[Center], ...]
    hubs: tuple[Hub, ...]
    workers: tuple[WorkerStatus, ...]
    total_samples: int | None


class Controller:
    """The actor that owns the lease book and the notes."""

    def __init__(
        self,
        run: str,
        centers: tuple[ActorProxy[Center], ...],
        total_samples: int | None,
        bounded: bool,
        num_hubs: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self._progress = progress
        self._run, self._centers = run, centers
        self._total, self._bounded = total_samples, bounded
        self._lock = Lock()
        self._book: LeaseBook | None = None
        self._notes: list[Note] = []
        self._workers: dict[tuple[str, int], WorkerStatus] = {}
        self._gone: set[tuple[str, int]] = set()
        self._posts = Posts(num_hubs)

    def __repr__(self) -> str:
        return f"Controller({self._run})"

    @ray.method
    def open_data(self, num_samples: int, batch_size: int, epochs: int) -> None:
        """Say what there is to hand out: ``epochs`` passes, where the run sets no other end."""
        with self._lock:
            total = self._total if self._bounded else epochs * num_samples
            if self._book is None:
                self._book = LeaseBook(num_samples=num_samples, batch_size=batch_size, total=total)
                if self._progress is not None:
                    self._book.resume(self._progress)
            elif self._book.num_samples != num_samples:
                raise ValueError(
                    f"session.data got a data set of {num_samples} samples, but this run shares "
                    f"one of {self._book.num_samples}: every worker, and every call, takes the "
                    "same data set."
                )
            elif not self._bounded:
                self._book.extend(epochs * num_samples)

    @ray.method
    def lease(self, worker: str, backup: bool) -> Interval | None:
        """The next range of data for a worker, or None.

        With ``backup``, once nothing fresh is left, also what others hold and the hub lacks.
        """
        with self._lock:
            assert self._book is not None
            if backup:
                self._look()
            return self._book.lease(worker, backup=backup)

    @ray.method
    def give_back(self, intervals: tuple[Interval, ...]) -> None:
        """Steps on these were dropped."""
        with self._lock:
            if self._book is not None:
                self._book.give_back(intervals)

    @ray.method
    def release(self, worker: str) -> None:
        """A worker is gone: what it held and the hub has not seen goes back to the queue."""
        with self._lock:
            self._gone |= {life for life in self._workers if life[0] == worker}
            if self._book is not None:
                self._look()
                self._book.release(worker)
        self._posts.leave(worker)

    @ray.method(concurrency_group="waiting")
    def attach(self, worker: str, node: str) -> Hub:
        """The hub that a worker on this node is to join. Waits until the hubs are there."""
        return self._posts.attach(worker, node)

    @ray.method(concurrency_group="waiting")
    def successor(self, name: str, life: int) -> Hub:
        """The hub of that name after the dead one of ``life``. Waits until it is there."""
        return self._posts.successor(name, life)

    @ray.method
    def post(self, hub: Hub) -> None:
        """A hub is there, for the first time or again."""
        self._posts.put(hub)

    @ray.method
    def note(self, status: WorkerStatus | None, notes: list[Note]) -> None:
        """Keep what a worker reports, or a hub, which is no worker."""
        with self._lock:
            self._notes.extend(notes)
            if status is None:
                return
            known = self._workers.get((status.name, status.life))
            if known is None or known.step <= status.step:  # notes may overtake each other
                self._workers[status.name, status.life] = status

    @ray.method
    def observe(self, *hubs: HubStatus) -> tuple[Book, list[Note], list[WorkerStatus]]:
        """Take the hubs' word on what has been trained; give what came in since last time."""
        with self._lock:
            notes, self._notes = self._notes, []
            if self._book is None:
                return Book(opened=False), notes, list(self._workers.values())
            self._book.observe(Progress.union(hub.progress for hub in hubs))
            book = Book(
                opened=True,
                done=self._book.done,
                missed=self._book.num_missed,
                total=self._book.total,
            )
            return book, notes, list(self._workers.values())

    @ray.method(concurrency_group="control")
    def census(self) -> Census:
        """Who belongs to the run."""
        with self._lock:
            lives, total = self._workers, self._total
            workers = tuple(lives[life] for life in lives.keys() - self._gone)
            if self._book is not None:
                total = self._book.total
        return Census(
            centers=self._centers, hubs=self._posts.hubs, workers=workers, total_samples=total
        )

    def _look(self) -> None:
        """Take the hub's newest word. Learns of the center's death at once."""
        assert self._book is not None
        hubs = ray.get([center.status.remote() for center in self._centers])
        self._book.observe(Progress.union(hub.progress for hub in hubs))


def start_controller(
    run: str,
    centers: tuple[ActorProxy[Center], ...],
    *,
    total_samples: int | None,
    bounded: bool,
    num_hubs: int = 0,
    num_waiting: int = 16,
    progress: Progress | None = None,
) -> ActorProxy[Controller]:
    """Start the controller's actor.

    ``bounded``: the run ends at ``total_samples``, or (None) by another rule; else the passes
    that ``session.data`` was asked for. ``max_restarts=0``: it would come back without its lease
    book. ``max_concurrency``: a worker's question does not queue behind the driver's.
    ``num_hubs``: aggregators that workers may be posted to, ``num_waiting``: who may wait for one.
    ``progress``: what a run that is resumed has seen.
    """
    return as_actor(
        Controller,
        name=f"{run}:controller",
        num_cpus=0,
        scheduling_strategy=beside_the_driver(),
        max_restarts=0,
        max_concurrency=4,
        concurrency_groups={"waiting": num_waiting, "control": 1},
    ).remote(run, centers, total_samples, bounded, num_hubs, progress)
