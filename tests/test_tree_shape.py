"""The shape of a tree: who is under whom, what is refused, and what a person is warned of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ray_easgd.algorithms import METHODS
from ray_easgd.config import Config
from ray_easgd.errors import BadConfig
from ray_easgd.recipe import algorithm_of
from ray_easgd.sections import LevelSection
from ray_easgd.topology import (
    HubLoad,
    choose_hub,
    hurried,
    levels_per_node,
    refuse_swing,
    steps_between,
    swing,
    tree_of,
)

fan_outs = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def levels(*shape: int, periods: tuple[int, ...] | None = None) -> tuple[LevelSection, ...]:
    periods = periods or tuple(range(len(shape), 0, -1))
    return tuple(LevelSection(fan_out=d, period=p) for d, p in zip(shape, periods, strict=True))


def config(*given: dict[str, Any], **more: Any) -> Config:
    topology = {"levels": given, "scheme": more.pop("scheme", "elastic")}
    return Config.build({"topology": topology} | more)


# -- who is under whom -------------------------------------------------------------------------


def test_the_tree_of_the_documentation() -> None:
    spots = tree_of(levels(2, 4), 8)
    assert [(s.name, s.parent, s.depth) for s in spots] == [
        ("center", None, 0),
        ("aggregator-1-0", "center", 1),
        ("aggregator-1-1", "center", 1),
    ]
    assert [s.level.fan_out for s in spots] == [2, 4, 4]
    assert [s.own and s.own.fan_out for s in spots] == [None, 2, 2]


@given(fan_outs, st.integers(1, 300))
def test_a_tree_has_room_for_its_fleet_and_no_hub_too_many(shape: list[int], fleet: int) -> None:
    spots = tree_of(levels(*shape), fleet)
    by_name = {spot.name: spot for spot in spots}
    assert len(by_name) == len(spots)
    assert [s.name for s in spots if s.parent is None] == ["center"]
    for k, spot in enumerate(spots):
        if spot.parent is not None:
            parent = by_name[spot.parent]
            assert spots.index(parent) < k, "parents first"
            assert parent.depth == spot.depth - 1
            assert spot.own == parent.level
    for depth in range(len(shape)):
        hubs = [s for s in spots if s.depth == depth]
        below = fleet if depth == len(shape) - 1 else sum(s.depth == depth + 1 for s in spots)
        if depth:
            assert len(hubs) == math.ceil(below / shape[depth])


@given(fan_outs, st.integers(1, 300))
def test_siblings_share_their_children_evenly(shape: list[int], fleet: int) -> None:
    spots = tree_of(levels(*shape), fleet)
    for depth in range(len(shape) - 1):
        counts = [
            sum(child.parent == hub.name for child in spots) for hub in spots if hub.depth == depth
        ]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("fleet", [1, 5])
def test_without_levels_there_is_one_center(fleet: int) -> None:
    (spot,) = tree_of((), fleet)
    assert (spot.name, spot.level.fan_out) == ("center", fleet)


nodes = st.sampled_from("abc")


@given(
    st.lists(st.builds(HubLoad, st.uuids().map(str), nodes, st.integers(0, 9)), min_size=1), nodes
)
def test_a_worker_joins_the_least_loaded_hub_of_its_node_or_else_of_all(
    hubs: list[HubLoad], node: str
) -> None:
    chosen = next(hub for hub in hubs if hub.name == choose_hub(hubs, node))
    here = [hub for hub in hubs if hub.node == node]
    assert chosen in (here or hubs)
    assert chosen.num_children == min(hub.num_children for hub in (here or hubs))


# -- the default -------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 64), st.integers(1, 64))
def test_the_default_tree_has_an_aggregator_on_each_node(
    num_nodes: int, workers: int, period: int
) -> None:
    made = levels_per_node(num_nodes, workers, period)
    if num_nodes < 2 or workers <= num_nodes:
        assert made == ()
        return
    upper, lower = made
    assert (upper.fan_out, upper.placement, lower.period) == (num_nodes, "node", period)
    assert upper.fan_out * lower.fan_out >= workers
    assert steps_between(made) == [4 * period, period]
    assert hurried(made) is None


# -- periods -----------------------------------------------------------------------------------


def test_an_aggregators_period_counts_what_it_has_served() -> None:
    assert steps_between(levels(2, 4, periods=(32, 4))) == [32, 4]
    assert steps_between(levels(2, 2, 8, periods=(6, 16, 10))) == [60, 20, 10]


def test_periods_that_shrink_upwards_are_told_of() -> None:
    told = hurried(levels(2, 8, periods=(4, 10)))
    assert told is not None
    assert "topology.levels.0.period = 4" in told
    assert "every 5 gradient steps" in told
    assert "8 or more" in told
    assert hurried(levels(2, 8, periods=(8, 10))) is None
    assert hurried(()) is None


def test_periods_and_group_sizes_of_torchs_hierarchical_averager() -> None:
    """OrderedDict([(2, 4), (8, 8), (16, 16)]): of 4, 8 and 16 workers, every 2, 8, 16 steps."""
    made = Config.build({"topology": {"levels": {2: 4, 8: 8, 16: 16}}}).topology.levels
    assert [(level.fan_out, level.period) for level in made] == [(2, 4), (2, 16), (4, 2)]
    assert steps_between(made) == [16, 8, 2]
    assert (
        made == Config.build({"topology": {"levels": {"2": "4", "8": 8, "16": 16}}}).topology.levels
    )


@pytest.mark.parametrize(
    "groups", [{4: 4, 2: 8}, {2: 4, 4: 6}, {0: 4}, {2: 0}, {"often": 4}, {2: None}]
)
def test_groups_that_do_not_nest_are_refused(groups: dict[Any, Any]) -> None:
    with pytest.raises(BadConfig, match=r"topology\.levels") as refused:
        Config.build({"topology": {"levels": groups}})
    assert "{4: 4, 32: 8}" in str(refused.value), "the remedy shows one that works"


# -- what cannot hold --------------------------------------------------------------------------


def laplacian(shape: list[int], rates: list[float]) -> NDArray[np.float64]:
    """Of the whole tree, edge by edge."""
    edges: list[tuple[int, int, float]] = []
    front = [0]
    for d, rate in zip(shape, rates, strict=True):
        parents, front = front, []
        for parent in parents:
            for _ in range(d):
                edges.append((parent, len(edges) + 1, rate))
                front.append(len(edges))
    result = np.zeros((len(edges) + 1, len(edges) + 1))
    for parent, child, rate in edges:
        result[[child, parent], [child, parent]] += rate
        result[[child, parent], [parent, child]] -= rate
    return result


@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_the_bound_is_the_largest_eigenvalue_of_the_whole_laplacian(
    data: st.DataObject, shape: list[int]
) -> None:
    rates = [data.draw(st.floats(0.01, 2.0)) for _ in shape]
    expected = np.linalg.eigvalsh(laplacian(shape, rates))[-1]
    assert swing(shape, rates) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("degree", [2, 4, 16])
def test_the_bound_of_a_two_level_tree_is_the_thesis_formula(degree: int) -> None:
    assert swing([degree, degree], [1.0, 1.0]) == pytest.approx(degree + 1 + math.sqrt(degree))


@given(fan_outs, st.floats(0.01, 1.0))
def test_the_default_rates_always_hold(shape: list[int], beta: float) -> None:
    refuse_swing(levels(*shape), beta=beta, fixed_rate=None)


def test_rates_beyond_the_bound_are_refused_with_the_number_and_the_remedy() -> None:
    """lambda_max = 21 at d = 16 (thesis.md, A.11): 2 / 21 = .0952."""
    shape = levels(16, 16)
    refuse_swing(shape, beta=0.9, fixed_rate=0.095)
    with pytest.raises(BadConfig) as refused:
        refuse_swing(shape, beta=0.9, fixed_rate=0.1)
    assert refused.value.field == "algorithm.moving_rate"
    assert "2.1" in str(refused.value)
    assert "at most 0.905 times as large" in str(refused.value)


@pytest.mark.parametrize(
    ("given_", "more", "field"),
    [
        (
            [{"period": 4, "moving_rate": 0.9}, {"period": 2, "moving_rate": 0.9}],
            {},
            "topology.levels",
        ),
        (
            [{"period": 4}, {"period": 2}],
            {"algorithm": {"moving_rate": -0.1}},
            "algorithm.moving_rate",
        ),
        ([{"period": 4}, {"period": 2}], {"algorithm": {"beta": 3.0}}, "algorithm.beta"),
        ([{"period": 4}, {}], {}, "topology.levels.1.period"),
        ([{"period": 4}, {"period_up": 2, "period_down": 4}], {}, "topology.levels.1.period"),
        ([{"period": 4}, {"period": 2}], {"algorithm": {"name": "msgd"}}, "topology.levels"),
        ([{"period": 4}, {"period": 2}], {"algorithm": {"period": 3}}, "algorithm.period"),
    ],
)
def test_what_makes_no_tree_is_refused_by_name(
    given_: list[dict[str, Any]], more: dict[str, Any], field: str
) -> None:
    asked = config(*({"fan_out": 16} | level for level in given_), **more)
    with pytest.raises(BadConfig) as refused:
        algorithm_of(asked)
    assert refused.value.field == field
    assert refused.value.remedy


def test_a_rate_of_zero_or_less_is_refused_where_it_is_written() -> None:
    with pytest.raises(BadConfig, match=r"topology\.levels\.0\.moving_rate"):
        config({"fan_out": 2, "period": 2, "moving_rate": 0})


@pytest.mark.parametrize("name", sorted(n for n, m in METHODS.items() if not m.sequential))
def test_every_method_with_an_exchange_works_in_a_tree_of_default_rates(name: str) -> None:
    two = {"fan_out": 16, "period": 8}
    assert algorithm_of(config(two, two, algorithm={"name": name})).name == name
