"""Keys of the exchange path that cannot be, refused by name with a remedy."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from actors.posts import Hub
from actors.worker import Program, Seat, _options, open_links
from ray_easgd.config import Config
from ray_easgd.errors import BadConfig
from ray_easgd.recipe import algorithm_of, refuse_what_differs_on_the_wire
from ray_easgd.simulator.virtual_run import simulate


def config(name: str = "easgd", **sections: Any) -> Config:
    algorithm = {"name": name, **sections.pop("algorithm", {})}
    return Config.build({"algorithm": algorithm, **sections})


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("diloco", {}),
        ("easgd_sync", {}),
        ("mdownpour", {}),
        ("easgd", {"algorithm": {"staleness_power": 1.0}}),
    ],
)
def test_memory_is_not_shared_with_a_center_that_does_more_than_add(
    name: str, sections: dict[str, Any]
) -> None:
    with pytest.raises(BadConfig, match=r"exchange\.transport = 'shared_memory'.*=auto"):
        algorithm_of(config(name, exchange={"transport": "shared_memory"}, **sections))
    algorithm_of(config(name, exchange={"transport": "auto"}, **sections))


def test_a_workers_edge_has_the_format_of_its_level_in_both_directions() -> None:
    levels = [{"fan_out": 2, "period": 4}, {"fan_out": 2, "period": 1, "format": "int8"}]
    asked: Any = config(topology={"levels": levels}, exchange={"format": "bfloat16"})
    nobody: Any = None
    seat = Seat(
        name="worker-0",
        index=0,
        life=1,
        config=asked,
        algorithm=algorithm_of(asked),
        program=Program(),
        centers=(),
        controller=nobody,
        traced=True,  # by messages, wherever the hub is
    )
    hub = Hub(name="aggregator-1-0", handle=nobody, life=1)
    (link,) = open_links(seat, torch.device("cpu"), (hub,))
    assert link._format == "int8"
    assert _options(seat).wire_format == "int8"
    link.close()


@pytest.mark.parametrize("name", ["easgd", "eamsgd", "downpour"])
def test_memory_may_be_asked_for_where_the_center_adds(name: str) -> None:
    assert algorithm_of(config(name, exchange={"transport": "shared_memory"})).in_place


def test_a_center_that_is_averaged_may_be_shared() -> None:
    shared = config(exchange={"transport": "shared_memory"}, center={"average": "moving"})
    assert algorithm_of(shared).in_place


@pytest.mark.parametrize("name", ["easgd_sync", "diloco", "admm", "local_sgd", "gauss_seidel"])
def test_those_who_wait_for_each_other_take_no_fragments(name: str) -> None:
    with pytest.raises(BadConfig, match=r"exchange\.fragments = 2.*diloco_async"):
        algorithm_of(config(name, exchange={"fragments": 2}))
    algorithm_of(config(name, center={"shards": 2}))


@pytest.mark.parametrize(
    ("key", "sections"),
    [
        ("exchange.format", {"exchange": {"format": "int8"}}),
        ("exchange.fragments", {"exchange": {"fragments": 3}}),
        ("center.shards", {"center": {"shards": 2}}),
    ],
)
def test_traces_and_the_simulator_know_whole_vectors_only(
    key: str, sections: dict[str, Any]
) -> None:
    with pytest.raises(BadConfig) as refused:
        simulate(config(**sections))
    assert refused.value.field == key
    with pytest.raises(BadConfig, match="a trace knows whole float32 vectors only"):
        refuse_what_differs_on_the_wire(config(**sections), "a trace")


@pytest.mark.parametrize("value", ["float16", "int4", ""])
def test_an_unknown_format_names_those_there_are(value: str) -> None:
    with pytest.raises(BadConfig, match=r"exchange\.format.*'bfloat16'"):
        config(exchange={"format": value})
