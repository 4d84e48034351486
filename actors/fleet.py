"""The driver's view of the workers: who sits where, who is lost, who replaces whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ray
from ray.exceptions import RayError, RayTaskError

from actors.controller import WorkerStatus
from actors.lifecycle import end_process
from actors.worker import Seat, Worker, start_worker
from ray_easgd.errors import EasgdError, FleetLost, TrainingFailedError, WorkerFailed

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorProxy

_MOST_LOSSES = 3


@dataclass
class _Place:
    seat: Seat
    handle: ActorProxy[Worker]
    running: ObjectRef[WorkerStatus]
    state: str = "training"


class Fleet:
    """The workers of one run, each a single actor: losing one touches no other."""

    def __init__(
        self,
        *,
        run: str,
        num_cpus: float,
        num_gpus: float,
        on_lost: Callable[[str, str], None],
        on_done: Callable[[str], None],
    ) -> None:
        self._run, self._num_cpus, self._num_gpus = run, num_cpus, num_gpus
        self._on_lost, self._on_done = on_lost, on_done
        self._places: dict[str, _Place] = {}
        self._losses_in_a_row: dict[str, int] = {}
        self._ending = False

    def start(self, seat: Seat) -> None:
        """Seat a new worker; its process may still have to start, and nobody waits for it."""
        handle = start_worker(
            seat.name if seat.life == 1 else f"{seat.name}.{seat.life}",
            run=self._run,
            num_cpus=self._num_cpus,
            num_gpus=self._num_gpus,
        )
        self._places[seat.name] = _Place(seat, handle, handle.run.remote(seat))

    @property
    def running(self) -> dict[ObjectRef[WorkerStatus], str]:
        """The workers still at work, by the call that ends with them."""
        return {p.running: n for n, p in self._places.items() if p.state == "training"}

    @property
    def states(self) -> dict[str, str]:
        """Each worker's state: training, lost or done."""
        return {name: place.state for name, place in self._places.items()}

    def settle(self, name: str, steps_of: Callable[[str, int], int]) -> WorkerStatus | None:
        """A worker's call has ended; its last status, if it ended well.

        An error of its own surfaces. Any other end of its process is a loss, and replaced.
        """
        place = self._places[name]
        try:
            status: WorkerStatus = ray.get(place.running)
        except RayTaskError as error:
            place.state = "lost"
            raise explain(name, error) from error
        except RayError as error:
            place.state = "lost"
            self._replace(place, error, steps_of(name, place.seat.life))
            return None
        place.state = "done"
        self._on_done(name)
        return status

    def handles(self, names: Iterable[str]) -> list[ActorProxy[Worker]]:
        """The processes of those that are at work."""
        places = (self._places[name] for name in names)
        return [place.handle for place in places if place.state == "training"]

    def wind_down(self, *, interrupt: bool) -> None:
        """Who is lost from now on is not replaced; ``interrupt`` ends loops at the next step."""
        self._ending = True
        if not interrupt:
            return
        for place in self._places.values():
            if place.state == "training":
                place.handle.end.remote()

    def kill(self) -> None:
        """End every process of the fleet, whatever it is doing."""
        for place in self._places.values():
            end_process(place.handle)

    def _replace(self, place: _Place, error: RayError, steps: int) -> None:
        """Seat a new worker, unless three in a row died before their first step there."""
        seat, cause = place.seat, str(error).strip()
        end_process(place.handle)  # it may be alive behind a broken connection
        self._on_lost(seat.name, type(error).__name__)
        losses = 0 if steps else self._losses_in_a_row.get(seat.name, 0) + 1
        self._losses_in_a_row[seat.name] = losses
        if not self._ending and losses < _MOST_LOSSES:
            self.start(replace(seat, life=seat.life + 1))
        elif not self.running and losses:
            raise FleetLost(losses, cause)


def explain(name: str, error: RayTaskError) -> TrainingFailedError | EasgdError:
    """Our own errors cross as themselves; the user's come with their traceback."""
    cause = error.cause
    return cause if isinstance(cause, EasgdError) else WorkerFailed(name, str(error))
