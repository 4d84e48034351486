"""A worker's ports to the controller: where its data comes from, and where its numbers go."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import ray
from ray.exceptions import RayError

from actors.posts import Sitting
from actors.words import Note, WorkerStatus
from ray_easgd.protocol import Interval
from ray_easgd.session import Session, SessionElastic

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorProxy

    from actors.controller import Controller
    from actors.links import HubLink
    from ray_easgd.journal import Journal

_REPORT_EVERY_S = 0.5
_RECENT = 8  # leases; the one before last is trained on and on its way to the hub


@dataclass
class LeaseFeed:
    """A worker's data ranges, one asked for ahead so that training never waits for it."""

    controller: ActorProxy[Controller]
    worker: Sitting
    _data: tuple[int, int, int] = (0, 0, 0)  # samples, batch size, passes
    _ahead: deque[ObjectRef[Interval | None]] = field(default_factory=deque)
    _recent: deque[Interval] = field(default_factory=lambda: deque(maxlen=_RECENT))

    @property
    def held(self) -> tuple[Interval, ...]:
        """What it was given lately and may not have trained on: for a controller that forgot."""
        ahead = [ray.get(one) for one in tuple(self._ahead) if ray.wait([one], timeout=0)[0]]
        return (*self._recent, *(lease for lease in ahead if lease is not None))

    def open(self, num_samples: int, batch_size: int, epochs: int) -> None:
        """Say what there is; also asks for the first range."""
        self._data = num_samples, batch_size, epochs
        ray.get(self.controller.open_data.remote(*self._data))
        self._ahead.clear()
        self._ask()

    def next(self) -> Interval | None:
        """The next range that nobody else holds."""
        lease: Interval | None = ray.get(self._ahead.popleft()) if self._ahead else None
        if lease is not None:
            self._recent.append(lease)
            self._ask()
        return lease

    def backup(self) -> Interval | None:
        """A range somebody holds, asked for anew each time: a lost worker's may be back."""
        asked = self.controller.lease.remote(self.worker, True, self._data)
        lease: Interval | None = ray.get(asked)
        if lease is not None:
            self._recent.append(lease)
        return lease

    def give_back(self, intervals: tuple[Interval, ...]) -> None:
        """Not waited for."""
        self.controller.give_back.remote(intervals)

    def _ask(self) -> None:
        self._ahead.append(self.controller.lease.remote(self.worker, False, self._data))


@dataclass
class ControllerReporter:
    """Sends numbers and events to the controller, a bundle every half second, never waiting."""

    controller: ActorProxy[Controller]
    worker: str
    life: int
    device: str
    hub: str = ""
    session: Session | None = None
    journal: Journal | None = None
    links: Sequence[HubLink] = ()
    _notes: list[Note] = field(default_factory=list)
    _latest: dict[str, float] = field(default_factory=dict)
    _sent_at: float = 0.0
    _sent_step: int = 0
    _rate: float = 0.0

    def report(self, values: Mapping[str, float], *, step: int) -> None:
        """Numbers of the user's own; sent at once, since the loop may end here."""
        now = time.time()
        self._notes.extend(
            Note(at=now, source=self.worker, name=k, step=step, value=v, user=True)
            for k, v in values.items()
        )
        self._send(now)

    def stepped(self) -> None:
        """A step was taken: the driver hears of it, also where exchanges are far apart."""
        if self.journal is not None and self.session is not None and self.session.tie is not None:
            self.journal.stepped(self.session.tie.clock)
        self._send_if_due(time.time())

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Numbers, as they come."""
        now = time.time()
        self._latest.update(values)
        self._notes.extend(
            Note(at=now, source=self.worker, name=k, step=step, value=v) for k, v in values.items()
        )
        self._send_if_due(now)

    def event(self, kind: str, message: str, **details: object) -> None:
        """Something the user should know; sent at once."""
        self._notes.append(
            Note(at=time.time(), source=self.worker, name=kind, message=message, details=details)
        )
        self._send(time.time())

    def flush(self) -> WorkerStatus:
        """Send the rest, and wait until the controller has it: the run is about to end."""
        status, notes = self._bundle(time.time())
        with contextlib.suppress(RayError):  # no controller: numbers are lost, training is not
            ray.get(self.controller.note.remote(status, notes))
        return status

    def _send_if_due(self, now: float) -> None:
        if now - self._sent_at >= _REPORT_EVERY_S:
            self._send(now)

    def _send(self, now: float) -> None:
        status, notes = self._bundle(now)
        self.controller.note.remote(status, notes)

    def _bundle(self, now: float) -> tuple[WorkerStatus, list[Note]]:
        """Where the worker stands, and the notes since the last bundle."""
        notes, self._notes = self._notes, []
        tie = self.session.tie if self.session else None
        if tie is None or self.session is None:
            return self._unborn, notes
        self._measure_rate(tie.clock, now)
        notes.append(
            Note(at=now, source=self.worker, name="step_rate", step=tie.clock, value=self._rate)
        )
        return self._status(self.session, tie), notes

    def _measure_rate(self, clock: int, now: float) -> None:
        if clock > self._sent_step and now > self._sent_at:
            self._rate = (clock - self._sent_step) / (now - self._sent_at) if self._sent_at else 0.0
            self._sent_step, self._sent_at = clock, now

    def _status(self, session: Session, tie: SessionElastic) -> WorkerStatus:
        nan = float("nan")
        return WorkerStatus(
            name=self.worker,
            life=self.life,
            device=self.device,
            step=tie.clock,
            schedule_clock=tie.schedule_clock,
            samples=session.samples,
            exchanges=tie.counts.exchanges,
            exchanges_late=tie.counts.exchanges_late,
            restarts=tie.counts.restarts,
            bytes_sent=tie.counts.bytes_sent,
            bytes_received=tie.counts.bytes_received,
            exchange_s=tie.counts.in_place_s + sum(link.under_way_s for link in self.links),
            steps_per_s=self._rate,
            loss=self._latest.get("loss", nan),
            distance=self._latest.get("distance", nan),
            staleness=self._latest.get("staleness", nan),
            first_step_at=session.first_step_at,
            hub=self.hub,
        )

    @property
    def _unborn(self) -> WorkerStatus:
        return WorkerStatus(name=self.worker, life=self.life, device=self.device, hub=self.hub)
