"""The controller: hands out leases, and keeps what workers report until the driver fetches it.

It is not on the training path: each worker holds a lease more than it works on, and reports
without waiting. It imports no torch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Event, Lock
from typing import TYPE_CHECKING

import ray
from ray.exceptions import RayError

from actors.bequests import Bequests
from actors.lifecycle import Named, actor_name, as_actor
from actors.page import Page, start_page
from actors.placement import placed
from actors.posts import Hub, Posts, Sitting, center_name
from actors.words import Book, Census, Memory, Note, WorkerStatus
from ray_easgd.leases import LeaseBook
from ray_easgd.progress import Progress
from ray_easgd.protocol import Interval

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.center import Center
    from actors.hub_status import HubStatus
    from ray_easgd.belongings import Belongings

_ANSWER_S = 1.0


class Controller(Named):
    """The actor that owns the lease book and the notes.

    Started again by Ray after its death it knows nothing: ``observe`` says so, the driver tells
    it (``restore``), and whoever asks for data meanwhile waits. Nobody else does.
    """

    def __init__(
        self,
        run: str,
        total_samples: int | None,
        bounded: bool,
        num_hubs: int = 0,
        room: int = 0,
        folder: str = "",
        home: str = "",
    ) -> None:
        self._run, self._folder, self._home = run, folder, home
        self._page: ActorProxy[Page] | None = None
        self._progress: Progress | None = None
        self._held: Mapping[Sitting, tuple[Interval, ...]] = {}
        self._total, self._bounded = total_samples, bounded
        self._lock = Lock()
        self._book: LeaseBook | None = None
        self._wanted: int | None = None
        self._stopped = False
        self._notes: list[Note] = []
        self._workers: dict[Sitting, WorkerStatus] = {}
        self._gone: set[Sitting] = set()
        self._bequests = Bequests(self._tell_of_bequest)
        self._posts = Posts(num_hubs, room)
        self._epoch = 0  # of the center's state, as its leases follow it
        self._is_first = not ray.get_runtime_context().was_current_actor_reconstructed
        self._remembers = Event()

    @ray.method(concurrency_group="control")
    def begin(self, centers: tuple[ActorProxy[Center], ...], progress: Progress | None) -> None:
        """Where the center is, and what a run that is resumed has seen: who asks sooner waits.

        No argument of the constructor's: Ray starts an actor again from those it can copy.
        """
        self._progress = progress
        for k, center in enumerate(centers):
            self._posts.put(Hub(name=center_name(k), handle=center, parent="", is_leaf=False))
        if self._is_first:
            self._remembers.set()

    @ray.method(concurrency_group="pulse")
    def ping(self) -> None:
        """Answers, whatever else is waited for here."""

    @ray.method(concurrency_group="control")
    def restore(self, memory: Memory) -> None:
        """Begin again with what the driver knows, once. What was asked for meanwhile stays so."""
        with self._lock:
            if self._remembers.is_set():
                return
            for hub in memory.hubs:
                self._posts.put(hub)
            self._workers = {(w.name, w.life): w for w in memory.workers}
            latest = {w.name: w for w in sorted(memory.workers, key=lambda w: w.life)}.values()
            self._posts.workers = {(w.name, w.life): w.hub for w in latest if w.hub}
            self._progress, self._held = memory.progress, memory.held
            book = memory.book
            self._epoch = book.epoch
            self._wanted = book.wanted if self._wanted is None else self._wanted
            self._stopped = self._stopped or book.stopped
            if book.opened:
                self._open(book.num_samples, book.batch_size, book.total)
            self._remembers.set()

    @ray.method
    def open_data(self, num_samples: int, batch_size: int, epochs: int) -> None:
        """Say what there is to hand out: ``epochs`` passes, where the run sets no other end."""
        self._remembers.wait()
        with self._lock:
            self._book_of(num_samples, batch_size, epochs)

    def _book_of(self, num_samples: int, batch_size: int, epochs: int) -> LeaseBook:
        book = self._book
        if book is None:
            total = self._total if self._bounded else epochs * num_samples
            return self._open(num_samples, batch_size, total)
        if book.num_samples != num_samples:
            raise ValueError(
                f"session.data got a data set of {num_samples} samples, but this run shares "
                f"one of {book.num_samples}: every worker, and every call, takes the "
                "same data set."
            )
        if not self._bounded:
            book.extend(epochs * num_samples)
        return book

    def _open(self, num_samples: int, batch_size: int, total: int | None) -> LeaseBook:
        book = self._book = LeaseBook(num_samples=num_samples, batch_size=batch_size, total=total)
        if self._progress is not None:
            book.resume(self._progress)
        for worker, leases in self._held.items():
            book.adopt(worker, leases)
        return book

    @ray.method
    def lease(self, worker: Sitting, backup: bool, data: tuple[int, int, int]) -> Interval | None:
        """The next range of data for a worker, or None.

        With ``backup``, once nothing fresh is left, also what others hold and the hub lacks.
        ``data`` as it was opened, for a controller that has died since and was not told of it.
        """
        self._remembers.wait()
        if backup:
            self._look()
        with self._lock:
            if worker in self._gone:
                return None  # its last question, come late
            return self._book_of(*data).lease(worker, backup=backup)

    @ray.method
    def give_back(self, intervals: tuple[Interval, ...]) -> None:
        """Steps on these were dropped."""
        self._remembers.wait()
        with self._lock:
            if self._book is not None:
                self._book.give_back(intervals)

    @ray.method
    def release(self, worker: Sitting) -> None:
        """That life is gone: what it held and the hub has not seen goes back to the queue."""
        self._remembers.wait()
        self._look()
        with self._lock:
            self._gone.add(worker)
            if self._book is not None:
                self._book.release(worker)
        self._posts.leave(worker)

    @ray.method(concurrency_group="waiting")
    def attach(self, worker: Sitting, node: str) -> Hub:
        """The hub that a worker on this node is to join. Waits until the hubs are there."""
        self._remembers.wait()
        return self._posts.attach(worker, node)

    @ray.method(concurrency_group="waiting")
    def successor(self, name: str, life: int) -> Hub:
        """The hub of that name after the dead one of ``life``. Waits until it is there."""
        self._remembers.wait()
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

    @ray.method(concurrency_group="control")
    def observe(self, *hubs: HubStatus) -> tuple[Book, list[Note], list[WorkerStatus]]:
        """Take the hubs' word on what has been trained; give what came in since last time."""
        self._bequests.look()
        with self._lock:
            notes, self._notes = self._notes, []
            self._take_word(hubs)
            return self._at_a_glance(), notes, list(self._workers.values())

    @ray.method(concurrency_group="control")
    def scale(self, workers: int) -> None:
        """So many are wanted from now on; the driver sees to it."""
        with self._lock:
            self._wanted = workers

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """The run is to end now; the driver sees to it."""
        with self._lock:
            self._stopped = True

    @ray.method(concurrency_group="control")
    def seen(self) -> Progress | None:
        """The data that the center has, by its newest word."""
        with self._lock:
            return None if self._book is None else self._book.progress.copy()

    @ray.method(concurrency_group="control")
    def bequeath(self, belongings: Belongings) -> None:
        """What a worker leaves whose machine is about to go."""
        self._bequests.leave(belongings)

    @ray.method(concurrency_group="control")
    def inherit(self) -> Belongings | None:
        """For who comes in its place; each once."""
        return self._bequests.take()

    @ray.method(concurrency_group="control")
    def census(self) -> Census:
        """Who belongs to the run."""
        with self._lock:
            lives, total = self._workers, self._total
            workers = tuple(lives[life] for life in lives.keys() - self._gone)
            if self._book is not None:
                total = self._book.total
        return Census(
            centers=self._posts.centers,
            hubs=self._posts.hubs,
            workers=workers,
            total_samples=total,
        )

    @ray.method(concurrency_group="control")
    def page(self) -> ActorProxy[Page]:
        """The actor of the run's live page, started when it is first asked for.

        It is the controller's own, and ends with it.
        """
        with self._lock:
            if self._page is None:
                me = ray.get_runtime_context().current_actor
                self._page = start_page(self._run, self._folder, me, node=self._home)
            return self._page

    def _tell_of_bequest(self, message: str) -> None:
        note = Note(at=time.time(), source="controller", name="bequest_dropped", message=message)
        with self._lock:
            self._notes.append(note)

    def _at_a_glance(self) -> Book:
        book, knows = self._book, self._is_first or self._remembers.is_set()
        if book is None:
            return Book(opened=False, remembers=knows, wanted=self._wanted, stopped=self._stopped)
        return Book(
            opened=True,
            done=book.done,
            missed=book.num_missed,
            total=book.total,
            num_samples=book.num_samples,
            batch_size=book.batch_size,
            held=book.num_held,
            returned=book.num_returned,
            remembers=knows,
            wanted=self._wanted,
            stopped=self._stopped,
            epoch=self._epoch,
        )

    def _look(self) -> None:
        """Take the center's newest word, if it answers: one that died has a successor soon."""
        asked = [center.status.remote() for center in self._posts.centers]
        if ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_S)[1]:
            return
        with suppress(RayError):
            statuses = ray.get(asked)
            with self._lock:
                self._take_word(statuses)

    def _take_word(self, hubs: Sequence[HubStatus]) -> None:
        """A center that was recovered from an older cut has lost what the book believes."""
        epoch = sum(hub.version.epoch for hub in hubs)  # of all shards
        if self._book is None or epoch < max(1, self._epoch):
            return
        word = Progress.union(hub.progress for hub in hubs)
        if self._epoch and epoch > self._epoch:
            self._book.rebase(word)
        self._book.observe(word)
        self._epoch = epoch


def start_controller(
    run: str,
    centers: tuple[ActorProxy[Center], ...],
    *,
    total_samples: int | None,
    bounded: bool,
    num_hubs: int = 0,
    room: int = 0,
    num_waiting: int = 16,
    progress: Progress | None = None,
    folder: str = "",
) -> ActorProxy[Controller]:
    """Start the controller's actor.

    ``bounded``: the run ends at ``total_samples``, or (None) by another rule; else the passes
    that ``session.data`` was asked for. ``max_restarts=-1`` and ``max_task_retries=-1``: it comes
    back by itself, is told what it knew, and questions under way are asked again; none does harm
    when it is asked twice. ``max_concurrency``: a worker's question does not queue behind
    another's.
    ``num_hubs``: aggregators that workers may be posted to, ``room``: how many to each,
    ``num_waiting``: who may wait for one.
    ``progress``: what a run that is resumed has seen. ``folder``: where the run writes, which its
    live page reads, beside the driver.
    """
    controller = as_actor(
        Controller,
        name=actor_name(run, "controller"),
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=4,
        concurrency_groups={"waiting": num_waiting, "control": 2, "pulse": 1},
        **placed("controller"),
    ).remote(
        run,
        total_samples,
        bounded,
        num_hubs,
        room,
        folder,
        ray.get_runtime_context().get_node_id(),
    )
    controller.begin.remote(centers, progress)
    return controller
