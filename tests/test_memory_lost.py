"""A center whose successor cannot have its memory, and children who only ever spoke to that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from actors import centers
from actors.hub_slice import HubSlice, open_slices, take_memory
from actors.lifecycle import end_process
from actors.succession import Holding, Legacy, gather, newest
from ray_easgd.algorithms import METHODS
from ray_easgd.config import Config
from ray_easgd.hub import options_for
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import Interval, Version
from ray_easgd.shared.segment import Address, SharedMemoryUnavailable
from tests.conftest import Pool
from tests.test_succession import Stage, ended, step_until

LAYOUT = (Slot("a", (8,), 0, 8),)
GONE = Address(1, 3, "nobody's")


class Whereabouts:
    """Lies about where the memory is, and that a child has seen a later epoch of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(centers, "gather", self)
        self.found: Legacy | None = None

    def __call__(self, *asked: Any) -> Legacy | None:
        self.found = gather(*asked)
        assert self.found is not None
        assert self.found.addresses
        versions = tuple(Version(7, version.count) for version in self.found.versions)
        return replace(self.found, addresses=((GONE,),), versions=versions)


@pytest.mark.cluster
@pytest.mark.chaos
def test_who_exchanges_in_memory_that_is_nobodys_joins_the_successor(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.build({"algorithm": {"name": "easgd"}})
    stage, flag = Stage(pool, config, [METHODS["easgd"]] * 2), tmp_path / "enough"
    lies = Whereabouts(monkeypatch)
    try:
        calls = stage.run(step_until(flag))
        stage.watch(lambda: stage.version > 30)
        before = stage.version
        end_process(stage.hubs.centers[0])
        stage.watch(lambda: stage.was_told("center_replaced"))
        assert stage.was_told("no_memory")
        assert lies.found is not None
        assert lies.found.version.count >= before, "as the memory is, not as it was at the join"
        assert stage.version >= before
        since = stage.version
        stage.watch(lambda: stage.version > since + 20)
        root: Any = ray.get(stage.hubs.centers[0].status.remote())
        assert sorted(root.children.values()) == ["worker-0", "worker-1"]
        assert root.sharing == 2, "they exchange in its memory now"
        assert root.version.epoch == 8, "above all that anybody has seen"
        flag.touch()
        stage.watch(lambda: ended(calls))
        ray.get(calls)
    finally:
        stage.end()


@pytest.fixture
def part() -> HubSlice:
    """A slice whose memory has been shared."""
    (part,) = open_slices(options_for(METHODS["easgd"]), 1)
    life = part.hub.admit("w", torch.arange(8.0), LAYOUT)
    assert part.hub.give_place(life) is not None
    return part


def a_legacy(addresses: Sequence[Address]) -> Legacy:
    return Legacy(
        layout=LAYOUT,
        lives=({1: "w"},),
        afar=({},),
        addresses=(tuple(addresses),),
        keepers=((),),
        versions=(Version(1, 0),),
        in_memory=True,
    )


def test_memory_is_entered_through_whoever_is_still_there(part: HubSlice) -> None:
    assert part.hub.address is not None
    (successor,) = open_slices(part.hub.options, 1)
    take_memory(a_legacy([GONE, part.hub.address, GONE]), [successor.hub])
    assert successor.hub.vector is not None
    assert successor.hub.vector.tolist() == list(range(8))
    assert successor.hub.children == {1: "w"}


def test_memory_that_no_way_leads_to_is_not_there(part: HubSlice) -> None:
    (successor,) = open_slices(part.hub.options, 1)
    with pytest.raises(SharedMemoryUnavailable):
        take_memory(a_legacy([GONE, GONE]), [successor.hub])


def test_all_slices_of_a_memory_are_taken_over_or_none(part: HubSlice) -> None:
    """Else one would go on with what another has to look for elsewhere."""
    assert part.hub.address is not None
    one = a_legacy([part.hub.address])
    both = replace(one, lives=one.lives * 2, addresses=((part.hub.address,), (GONE,)))
    first, second = open_slices(part.hub.options, 2)
    with pytest.raises(SharedMemoryUnavailable):
        take_memory(both, [first.hub, second.hub])
    assert first.hub.vector is None
    assert second.hub.vector is None


class _Link:
    """Of a child that exchanges in memory."""

    hub_name = "center"

    def __init__(self, part: HubSlice, address: Address | None) -> None:
        header = replace(part.hub.header(), progress=(Interval(0, 0, 8),), applied={1: 1})
        self.newest = Snapshot(header, torch.zeros(8))
        self.holding = Holding(
            child="w", incarnation=1, version=Version(1, 0), layout=LAYOUT, address=address
        )


def test_what_is_in_the_memory_says_nothing_of_data(part: HubSlice) -> None:
    link: Any = _Link(part, part.hub.address)
    header, vector = newest([link], "center", 0)
    assert vector.tolist() == list(range(8))
    assert (header.progress, header.applied) == ((), {})


def test_what_a_child_was_given_at_its_join_is_not_the_newest(part: HubSlice) -> None:
    """It may be hours old; another child is asked then, and in the end the checkpoint."""
    link: Any = _Link(part, GONE)
    with pytest.raises(SharedMemoryUnavailable):
        newest([link], "center", 0)
