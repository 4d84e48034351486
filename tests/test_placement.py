"""Which node a process belongs on, by its labels. Where Ray puts them: test_autoscaling.py."""

from __future__ import annotations

from typing import Any

import pytest

from ray_easgd.placement import MARKET, NODE, ON_DEMAND, SPOT, Role, hosts, preferences

KEPT: tuple[Role, ...] = ("center", "controller")
OTHERS: tuple[Role, ...] = ("shard", "evaluator", "worker")
ON, OFF, NONE = {MARKET: ON_DEMAND}, {MARKET: SPOT}, {"zone": "a"}


@pytest.mark.parametrize("role", [*KEPT, *OTHERS])
def test_without_labels_nothing_is_asked_for(role: Role) -> None:
    assert preferences(role, {"a": NONE, "b": NONE}, driver="a") == []


@pytest.mark.parametrize("role", KEPT)
def test_the_center_stays_with_a_driver_that_is_on_demand_and_leaves_one_that_is_not(
    role: Role,
) -> None:
    for other in (OFF, NONE):
        nodes = {"a": ON, "b": other, "c": ON}
        assert preferences(role, nodes, driver="a") == []
        assert preferences(role, nodes, driver="b") == [ON, {NODE: "b"}]


@pytest.mark.parametrize("role", KEPT)
def test_the_center_stays_with_the_driver_where_all_is_spot(role: Role) -> None:
    assert preferences(role, {"a": OFF, "b": NONE}, driver="a") == []


def test_a_node_that_does_not_answer_is_not_asked_for() -> None:
    nodes = {"a": OFF, "b": ON, "c": ON, "d": ON}
    best, _ = preferences("center", nodes, driver="a", silent=["d", "b"])
    assert best == {MARKET: ON_DEMAND, NODE: "!in(b,d)"}


@pytest.mark.parametrize("role", ["shard", "evaluator"])
def test_shards_and_the_evaluator_prefer_on_demand_nodes(role: Role) -> None:
    assert preferences(role, {"a": OFF, "b": ON}, driver="a") == [ON, {}]
    assert preferences(role, {"a": OFF, "b": OFF}, driver="a") == []


@pytest.mark.parametrize("nodes", [{"a": ON}, {"a": OFF}, {"a": NONE, "b": OFF}])
def test_workers_prefer_spot_nodes_wherever_nodes_say_what_they_are(nodes: Any) -> None:
    assert preferences("worker", nodes, driver="a") == [OFF, {}]


def test_an_aggregator_is_hosted_per_node_or_per_zone_and_there_on_demand_first() -> None:
    nodes = {"a": OFF | {"z": "1"}, "b": ON | {"z": "1"}, "c": OFF | {"z": "2"}, "d": ON}
    assert hosts("node", nodes) == {n: [n] for n in nodes}
    assert hosts("z", nodes) == {"1": ["b", "a"], "2": ["c"]}
    assert hosts("z", {"a": {"z": "1"}, "b": {"z": "1"}}) == {"1": ["a", "b"]}
