"""Whose lives the driver ends because a goodbye was not heard, without a cluster."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from actors.hub_status import HubStatus, joined
from actors.seating import Seating
from ray_easgd.progress import Progress
from ray_easgd.shared_hub import UNNAMED
from tests.test_overtaking import center_status


class Hunt:
    """A hub that says who its children are, and hears whose lives are to end."""

    def __init__(self) -> None:
        self.lost: list[tuple[str, list[list[int]]]] = []
        hub = SimpleNamespace(lose=SimpleNamespace(remote=lambda *words: self.lost.append(words)))
        self.hubs: Any = SimpleNamespace(heard=[], handles={}, hub=hub)
        nothing: dict[str, Any] = dict.fromkeys(("program", "config", "algorithm"))
        self.seating = Seating(
            **nothing,
            hubs=self.hubs,  # type: ignore[arg-type]
            controller=None,
            sight=None,  # type: ignore[arg-type]
            chronicle=None,  # type: ignore[arg-type]
            born=0,
            trace=None,
        )

    def sees(self, *lives: dict[int, str], there: tuple[str, ...] = ()) -> None:
        self.says(replace(center_status(1, Progress()), lives=lives), there=there)

    def says(self, status: HubStatus, *, there: tuple[str, ...] = ()) -> None:
        self.hubs.heard = [(self.hubs.hub, status)]
        self.seating.end_ghosts(there)


@pytest.fixture
def hunt() -> Hunt:
    return Hunt()


def test_who_is_seen_twice_without_a_process_is_lost(hunt: Hunt) -> None:
    hunt.sees({1: "worker-1", 2: "worker-2"}, there=("worker-2",))
    assert hunt.lost == []
    hunt.sees({1: "worker-1", 2: "worker-2"}, there=("worker-2",))
    assert hunt.lost == [("worker-1", [[1]])]


def test_one_word_of_a_hub_is_not_two(hunt: Hunt) -> None:
    """It is stopped, say, and was asked twice meanwhile."""
    status = replace(center_status(1, Progress()), lives=({1: "worker-1"},))
    hunt.says(status)
    hunt.says(status)
    assert hunt.lost == []


def test_who_comes_in_the_place_of_a_ghost_is_none(hunt: Hunt) -> None:
    """It has its name, and the driver has not yet seen where its process is."""
    hunt.sees({1: "worker-1"})
    hunt.sees({5: "worker-1"})
    hunt.sees({5: "worker-1"}, there=("worker-1",))
    assert hunt.lost == []


def test_whoever_nobody_can_name_may_be_alive(hunt: Hunt) -> None:
    for _ in range(3):
        hunt.sees({5: f"{UNNAMED} 5"})
    assert hunt.lost == []


def test_a_ghost_of_one_slice_is_ended_there(hunt: Hunt) -> None:
    """Each slice numbers lives by itself, and one of them did not hear the goodbye."""
    first, second = ({1: "worker-0"},), ({1: "worker-9", 2: "worker-0"},)
    parts = [replace(center_status(1, Progress()), lives=lives) for lives in (first, second)]
    for _ in range(2):
        hunt.says(joined(parts), there=("worker-0",))
    assert hunt.lost == [("worker-9", [[], [1]])]
