"""What the coming and going of workers means to the rest of a run: seats, lives, data, and words.

A word to a hub that is just dying may never be heard. So hubs are also told again, for as long as
they count a child whose process has ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from actors.chronicle import Chronicle
from actors.hub_status import HubStatus
from actors.hubs import Hubs
from actors.sight import Sight
from actors.worker import Program, Seat
from ray_easgd.algorithms import Algorithm
from ray_easgd.config import Config
from ray_easgd.shared_hub import UNNAMED
from ray_easgd.trace import TraceFile

_Ghost = tuple[str, str, str]  # at which hub, whose, and which lives


class Seating:
    """Makes seats, and is told what happens to those who sit there (``FleetEvents``).

    ``born``: the lives of workers there were before this sitting of the run.
    """

    def __init__(
        self,
        program: Program,
        config: Config,
        algorithm: Algorithm,
        *,
        hubs: Hubs,
        controller: Any,
        sight: Sight,
        chronicle: Chronicle,
        born: int,
        trace: TraceFile | None,
    ) -> None:
        self._program, self._config, self._algorithm = program, config, algorithm
        self._hubs, self._controller, self._trace = hubs, controller, trace
        self._sight, self._chronicle, self._born = sight, chronicle, born
        self._ghosts: dict[_Ghost, HubStatus] = {}  # and where each was seen first

    def seat(self, index: int, life: int) -> Seat:
        """For one more process; ``life`` counts those of this sitting that had that index."""
        name, life, offset = f"worker-{index}", self._born + life, self._sight.schedule_clock
        if self._trace is not None and offset:
            self._trace.seat(name, life, schedule_offset=offset)
        return Seat(
            name=name,
            index=index,
            life=life,
            config=self._config,
            algorithm=self._algorithm,
            program=self._program,
            centers=self._hubs.centers,
            center_lives=self._hubs.root.lives,
            controller=self._controller,
            traced=self._trace is not None,
            schedule_offset=offset,
        )

    def worker_lost(self, seat: Seat, cause: str) -> None:
        """Its lives end, and what it held goes back to the queue."""
        for hub, status in self._hubs.heard:
            hub.lose.remote(seat.name, status.lives_of(seat.name))
        self._controller.release.remote(seat.sitting)
        self._chronicle.tell(
            "worker_lost",
            f"{seat.name} is lost ({cause}): its displacement from the center is lost"
            f"{self._size_of(seat)}, its data goes back to the queue",
            worker=seat.name,
        )

    def worker_done(self, seat: Seat, *, why: str) -> None:
        """Its leases return to the queue, less what the hub has seen by now."""
        self._controller.release.remote(seat.sitting)
        if why:
            self._sight.left.add(seat.sitting)
            self._chronicle.tell(
                "worker_left",
                f"{seat.name} has left after a last exchange ({why}); its displacement from the "
                f"center{self._size_of(seat)} leaves with it, its data goes back",
                worker=seat.name,
            )

    def no_more_spares(self, name: str) -> None:
        """Lost seats are filled by processes that have their imports still to do."""
        self._chronicle.tell(
            "no_spares",
            f"warm spares end before they are ready, {name} as those before it: this run starts no "
            "more of them. Memory that is too small is the usual reason; their logs are in Ray's "
            "dashboard, and fleet.spares=0 does without from the outset",
        )

    def left_behind(self, seat: Seat, grace_s: float) -> None:
        """The run ends without it."""
        self._chronicle.tell(
            "left_behind",
            f"{seat.name} did not end within {grace_s:g} s of the run's end; what it had not "
            f"pushed is lost: its displacement from the center{self._size_of(seat)}",
            worker=seat.name,
        )

    def end_ghosts(self, seated: Iterable[str]) -> None:
        """End lives of those who are not there any more, once they are seen a second time.

        A goodbye may have been on its way the first time. ``seated``: whose processes are there.
        """
        there = {*seated, *self._hubs.handles}
        ghosts: dict[_Ghost, HubStatus] = {}
        for hub, status in self._hubs.heard:
            for child in {name for lives in status.lives for name in lives.values()} - there:
                if child.startswith(UNNAMED):  # it may well be alive (``SharedHub.take_over``)
                    continue
                lives = status.lives_of(child)
                ghost = repr(hub), child, repr(lives)
                first = ghosts[ghost] = self._ghosts.get(ghost, status)
                if first is not status:
                    hub.lose.remote(child, lives)
        self._ghosts = ghosts

    def _size_of(self, seat: Seat) -> str:
        return self._sight.size_of(seat.name, seat.life)
