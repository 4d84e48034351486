"""A controller that died is started again by Ray, and told by its driver what it knew.

One that is stopped is let die first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from actors.asking import SILENCE_S, Pulse
from actors.centers import Tell
from actors.fleet import Fleet
from actors.posts import Hub, Sitting
from actors.sight import Sight
from actors.succession import ANSWER_S
from actors.words import Memory
from ray_easgd.protocol import Interval

RESTARTED = "the controller was lost and is back; training went on, and its leases are known again"


def remind(controller: Any, sight: Sight, fleet: Fleet, hubs: Sequence[Hub]) -> None:
    """Tell it who is there, what the center has seen, and what data the workers hold."""
    assert sight.hub is not None
    controller.restore.remote(
        Memory(
            hubs=tuple(hubs),
            workers=tuple(sight.lives),
            book=sight.book,
            progress=sight.hub.progress,
            held=_held(fleet),
        )
    )


class ControllerWatch:
    """Ends a controller that is stopped, for Ray to start it again.

    ``tell`` takes what the user should know. One that is starting owes no answer yet.
    """

    def __init__(self, controller: Any, tell: Tell) -> None:
        self._controller, self._tell = controller, tell
        self._pulse: Pulse | None = None

    def heard(self) -> None:
        """It has answered."""
        # No second try: a question that Ray repeats says nothing while a controller is restarted.
        ping = self._controller.ping.options(max_task_retries=0)
        self._pulse = self._pulse or Pulse(ping.remote)

    def look(self) -> None:
        """Call this again and again."""
        if self._pulse is None or self._pulse.silent_s() < SILENCE_S:
            return
        self._tell(
            "controller_silent",
            f"the controller has not answered for {SILENCE_S:.0f} s: its process is stopped, or "
            "its machine. It is ended and started again",
            source="controller",
        )
        ray.kill(self._controller, no_restart=False)
        self._pulse = None


def _held(fleet: Fleet) -> dict[Sitting, tuple[Interval, ...]]:
    """By those who answer; the leases of the others are handed out anew."""
    asked = {seat.sitting: handle.held.remote() for seat, handle in fleet.at_work}
    answered = ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_S)[0]
    held: dict[Sitting, tuple[Interval, ...]] = {}
    for name, reference in asked.items():
        if reference in answered:
            try:
                held[name] = ray.get(reference)
            except RayError:
                continue  # it died too
    return held
