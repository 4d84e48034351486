"""The workers of one run: carries out what the fleet's machine decides (``ray_easgd/fleet.py``).

Each worker is a single actor, so that losing one touches no other. One that has no room yet is
pending: that is the demand that an autoscaler sees, and the notice of its arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from actors.asking import Pulse, explain
from actors.lifecycle import end_process
from actors.words import WorkerStatus
from actors.worker import Program, Seat, Worker, start_worker
from ray_easgd.config import Config
from ray_easgd.errors import FleetLost
from ray_easgd.fleet import (
    Action,
    Desired,
    FleetMachine,
    GiveUp,
    Leave,
    Observed,
    Place,
    Start,
    StartSpare,
    State,
)

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorProxy

StepsOf = Callable[[str, int], int]
_MOST_SPARES_LOST = 3
"""In a row, and none of them ready: more would only cost memory and a core."""
_AT_WORK: tuple[State, ...] = ("starting", "training", "leaving")


class FleetEvents(Protocol):
    """Who hears of what happens to workers."""

    def worker_lost(self, seat: Seat, cause: str) -> None: ...

    def worker_done(self, seat: Seat, *, why: str) -> None:
        """It said goodbye; ``why`` is empty where its loop ended by itself."""
        ...

    def no_more_spares(self, name: str) -> None:
        """Several in a row ended before they were ready, that one the last."""
        ...


@dataclass
class _Seated:
    """A seat, and who sits there; ``arrival`` is answered once the process is there."""

    seat: Seat
    life: int  # in this sitting of the run
    handle: ActorProxy[Worker]
    running: ObjectRef[WorkerStatus]
    arrival: ObjectRef[dict[str, Any]]
    state: State = "starting"
    node: str = ""
    why: str = ""  # it was asked to leave

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.handle.where.remote)


@dataclass
class _Spare:
    """``ready`` once its imports are done; ``end`` comes with the end of its process."""

    handle: ActorProxy[Worker]
    ready: ObjectRef[None]
    end: ObjectRef[None]
    was_ready: bool = False


class Fleet:
    """``wanted`` workers, and ``spares`` with their imports done; ``reconcile`` sees to both."""

    def __init__(
        self,
        *,
        config: Config,
        program: Program,
        num_gpus: float,
        wanted: int,
        make_seat: Callable[[int, int], Seat],
        events: FleetEvents,
    ) -> None:
        self.wanted, self.spares = wanted, 0
        self._run, self._num_cpus = config.run.name or "", config.fleet.cpus_per_worker
        self._config, self._program, self.num_gpus = config, program, num_gpus
        self._make_seat, self._events = make_seat, events
        self._machine = FleetMachine()
        self._places: dict[int, _Seated] = {}
        self._spares: dict[str, _Spare] = {}
        self._num_spares = self.num_lost = self._spares_lost = 0
        self._ending = False

    # -- what there is -------------------------------------------------------------------------

    @property
    def running(self) -> dict[ObjectRef[WorkerStatus], int]:
        """The workers at work, by the call that ends with them."""
        return {p.running: k for k, p in self._places.items() if p.state in _AT_WORK}

    @property
    def waits_for_room(self) -> bool:
        """Whether a seat's process has no place yet."""
        return any(p.state == "starting" and not p.node for p in self._places.values())

    @property
    def is_over(self) -> bool:
        """Whether nobody is at work, and of those who wait for room nobody has to come."""
        states = [p.state for p in self._places.values()]
        arrived = [p for p in self._places.values() if p.state in _AT_WORK and p.node]
        return not arrived and ("done" in states or not self.running)

    @property
    def names_there(self) -> set[str]:
        """Of those at work whose process is there; a seat that waits for room has none."""
        there = (p for p in self._places.values() if p.state in _AT_WORK and p.node)
        return {p.seat.name for p in there}

    @property
    def some_are_done(self) -> bool:
        """Whether a loop has ended by itself."""
        return any(p.state == "done" for p in self._places.values())

    def nobody_answers(self, within_s: float) -> bool:
        """Whether none of those at work has answered for so long; ask this again and again."""
        there = [p for p in self._places.values() if p.state in _AT_WORK and p.node]
        return min((p.pulse.silent_s() for p in there), default=within_s) >= within_s

    @property
    def num_seated(self) -> int:
        """How many are at work, or ended as their data did."""
        return sum(p.state in (*_AT_WORK, "done") for p in self._places.values())

    @property
    def at_work(self) -> list[tuple[Seat, ActorProxy[Worker]]]:
        """The seats that are taken, and the processes that sit there."""
        return [(p.seat, p.handle) for p in self._places.values() if p.state in _AT_WORK]

    def under(self, hub: str, known: Mapping[str, WorkerStatus]) -> list[ActorProxy[Worker]]:
        """Those at work under an aggregator, or (by an empty name) under the center."""
        return [
            handle
            for seat, handle in self.at_work
            if (known[seat.name].hub if seat.name in known else "") == hub
        ]

    @property
    def states(self) -> dict[str, str]:
        """Each worker's state, for the eye: waiting (for room), starting, training, and so on."""
        shown = (p for p in self._places.values() if p.state != "left")
        return {
            p.seat.name: "waiting" if p.state == "starting" and not p.node else p.state
            for p in shown
        }

    @property
    def crashes_in_a_row(self) -> int:
        """Lives in a row that ended by the same error, as far as that may be a crash loop."""
        return self._machine.crashes_in_a_row

    # -- what happens --------------------------------------------------------------------------

    def settle(self, index: int, steps_of: StepsOf) -> WorkerStatus | None:
        """A worker's call has ended; its last status, if it ended well.

        An error of its own surfaces. Any other end of its process is a loss.
        """
        place = self._places[index]
        name = place.seat.name
        try:
            status: WorkerStatus = ray.get(place.running)
        except RayTaskError as error:
            place.state = "lost"
            raise explain(name, error) from error
        except RayError as error:
            self._lost(place, error, steps_of(name, place.seat.life))
            return None
        why = place.why or ("its process was asked to end" if status.was_asked_to_end else "")
        place.state = "left" if why and not self._ending else "done"
        if place.state == "left":
            end_process(place.handle)
        self._events.worker_done(place.seat, why=why if place.state == "left" else "")
        return status

    def reconcile(self, draining: Collection[str], steps_of: StepsOf) -> None:
        """Look at who is there, and do what the machine asks for. Never waits.

        ``draining``: nodes that are about to go. Raises FleetLost in a crash loop.
        """
        for place in self._places.values():
            self._look_at(place, steps_of)
        spares = [self._is_ready(name) for name in list(self._spares)]
        observed = Observed(
            places=tuple(
                Place(
                    index=index,
                    life=p.life,
                    state=p.state,
                    draining=p.node in draining,
                    asked_to_leave=bool(p.why),
                )
                for index, p in self._places.items()
            ),
            spares_ready=spares.count(True),
            spares_starting=spares.count(False),
        )
        num_spares = 0 if self._spares_lost >= _MOST_SPARES_LOST else self.spares
        desired = Desired(workers=self.wanted, spares=num_spares, ending=self._ending)
        for action in self._machine.reconcile(desired, observed):
            self._do(action)

    def wind_down(self, *, interrupt: bool) -> None:
        """Who is lost from now on is not replaced; ``interrupt`` ends loops at the next step."""
        self._ending = True
        for place in self._places.values():
            if not self._withdraw(place) and interrupt and place.state in _AT_WORK:
                place.handle.end.remote("over")

    def kill(self) -> None:
        """End every process of the fleet, whatever it is doing."""
        seated = [place.handle for place in self._places.values()]
        for handle in (*seated, *(spare.handle for spare in self._spares.values())):
            end_process(handle)

    # -- shell -----------------------------------------------------------------------------

    def _look_at(self, place: _Seated, steps_of: StepsOf) -> None:
        if not place.node and ray.wait([place.arrival], timeout=0)[0]:
            try:
                place.node = ray.get(place.arrival)["node_id"]
            except RayError:
                return  # the call that runs tells why
        if place.state == "starting" and steps_of(place.seat.name, place.seat.life):
            place.state = "training"

    def _withdraw(self, place: _Seated) -> bool:
        """End a worker that never had room, if it is one, and with it the demand for room."""
        waits = place.state == "starting" and not place.node
        if waits:
            place.state = "left"
            end_process(place.handle)
        return waits

    def _lost(self, place: _Seated, error: RayError, steps: int) -> None:
        place.state = "lost"
        self.num_lost += 1
        seat = place.seat
        end_process(place.handle)  # it may be alive behind a broken connection
        was_taken = bool(getattr(error, "preempted", False)) or "its node" in str(error)
        cause = "" if was_taken else str(error).strip()
        self._machine.note_loss(index=seat.index, life=place.life, steps=steps, error=cause)
        self._events.worker_lost(seat, type(error).__name__)

    def _do(self, action: Action) -> None:
        match action:
            case Start(index, life, from_spare):
                self._start(index, life, from_spare=from_spare)
            case Leave(index, reason):
                place = self._places[index]
                place.why = "its node drains" if reason == "drained" else "fewer are wanted"
                if not self._withdraw(place):
                    place.state = "leaving"
                    place.handle.end.remote(reason)
            case StartSpare():
                self._start_spare()
            case GiveUp(reason):
                raise FleetLost(reason)
            case _:
                name = next(iter(self._spares))
                end_process(self._spares.pop(name).handle)

    def _start(self, index: int, life: int, *, from_spare: bool) -> None:
        seat = self._make_seat(index, life)
        ready = next(filter(self._is_ready, list(self._spares)), None) if from_spare else None
        if ready is not None:
            handle = self._spares.pop(ready).handle
        else:
            handle = start_worker(
                seat.name,
                life=seat.life,
                run=self._run,
                num_cpus=self._num_cpus,
                num_gpus=self.num_gpus,
            )
        self._places[index] = _Seated(
            seat, life, handle, handle.run.remote(seat), handle.where.remote()
        )

    def _start_spare(self) -> None:
        """It takes no CPU: the one it will replace gives its own back.

        A GPU it has to hold: a process that was started without one cannot be given one later.
        """
        name = f"spare-{self._num_spares}"
        self._num_spares += 1
        handle = start_worker(name, run=self._run, num_cpus=0, num_gpus=self.num_gpus)
        ready = handle.prepare.remote(self._program, self._config)
        self._spares[name] = _Spare(handle, ready, handle.watch.remote())

    def _is_ready(self, name: str) -> bool:
        spare = self._spares[name]
        if ray.wait([spare.end], timeout=0)[0]:
            del self._spares[name]  # it died, ready or not: another one is started
            self._spares_lost += not spare.was_ready
            if self._spares_lost == _MOST_SPARES_LOST and not spare.was_ready:
                self._events.no_more_spares(name)
            return False
        spare.was_ready = bool(ray.wait([spare.ready], timeout=0)[0])
        if spare.was_ready:
            self._spares_lost = 0
        return spare.was_ready
