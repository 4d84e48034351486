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
        self._ghosts: dict[tuple[str, str], HubStatus] = {}  # and where each was seen first

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
        for hub in (*self._hubs.centers, *self._hubs.handles.values()):
            hub.lose.remote(seat.name)
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
        shards = zip(self._hubs.centers, self._hubs.root.statuses, strict=True)
        named = [(self._hubs.handles[name], s) for name, s in self._hubs.statuses.items()]
        ghosts: dict[tuple[str, str], HubStatus] = {}
        for hub, status in (*shards, *named):
            if status is None:
                continue
            for child in _names(status) - there:
                ghost = repr(hub), child
                first = ghosts[ghost] = self._ghosts.get(ghost, status)
                if first is not status:
                    hub.lose.remote(child)
        self._ghosts = ghosts

    def _size_of(self, seat: Seat) -> str:
        return self._sight.size_of(seat.name, seat.life)


def _names(status: HubStatus) -> set[str]:
    """But of lives whose owner nobody knows (``SharedHub.take_over``): they may well be alive."""
    return {name for name in status.children.values() if not name.startswith(UNNAMED)}
