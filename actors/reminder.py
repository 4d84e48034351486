"""What a controller that died, and came back knowing nothing, is told by its driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

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
