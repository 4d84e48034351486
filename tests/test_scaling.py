"""The two studies of trees in the simulator: exchanges at scale, and the thesis's tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_easgd.errors import BadInput
from ray_easgd.simulator.costs import Costs
from ray_easgd.simulator.port import Edge, Queue
from ray_easgd.simulator.scaling import Shape, Study, scale, tiers_of
from ray_easgd.simulator.study_plots import draw_scale, draw_tree
from ray_easgd.simulator.tree_study import TreeStudy, looks_up_to, study

N = 1000
COSTS = Costs({("shared_memory", N): 1e-3, ("object_store", N): 20e-3}, "a test")
SMALL = Study(
    sizes=(N,),
    bits_per_s=(4e6,),  # 8 ms a vector: a hub's processor is the scarcer part
    workers=(8, 64, 256),
    fan_outs=(8,),
    step_s=0.1,
    period=4,
)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1))
def test_a_queue_serves_one_after_the_other_and_never_rests_while_somebody_waits(
    jobs: list[tuple[float, float]],
) -> None:
    queue, now, ended, work = Queue(), 0.0, 0.0, 0.0
    for gap, takes in jobs:
        now, work = now + gap, work + takes
        begun = max(now, ended)
        ended = begun + takes
        assert now + queue.takes_s(now, takes) == pytest.approx(ended)
        assert queue.done_s(now) <= now + 1e-9
    assert queue.done_s(ended) == pytest.approx(work)


def test_an_exchange_is_bound_by_its_scarcest_part() -> None:
    wire = Edge(hub_s=0.01, vector_bytes=4e6, bytes_per_s=1e8)
    assert wire.line_s == wire.exchange_s == pytest.approx(0.04)
    assert Edge(hub_s=0.01).exchange_s == 0.01


def fan_outs(workers: int, fan_out: int | None, **options: Any) -> list[tuple[int, int, str]]:
    near, far = Edge(hub_s=1.0), Edge(hub_s=2.0)
    shape = Shape(name="", period=16, fan_out=fan_out)
    tiers = tiers_of(Study(**options), shape, workers, near, far)
    return [(t.fan_out, t.period, "near" if t.edge is near else "far") for t in tiers]


def test_shapes_have_full_hubs_from_the_leaves_up() -> None:
    assert fan_outs(64, None) == [(64, 16, "far")]
    assert fan_outs(64, 16) == [(4, 64, "far"), (16, 16, "near")]
    assert fan_outs(1024, 16) == [(4, 16, "far"), (16, 64, "far"), (16, 16, "near")]
    assert fan_outs(16, 32) == [(16, 16, "near")]
    with pytest.raises(BadInput, match="Take a multiple"):
        fan_outs(36, 16)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return scale(SMALL, COSTS)


def rows(found: dict[str, Any], shape: str) -> dict[int, dict[str, Any]]:
    return {row["workers"]: row for row in found["rows"] if row["shape"] == shape}


def test_a_flat_center_saturates_where_arithmetic_says_and_a_tree_does_not(
    found: dict[str, Any],
) -> None:
    flat, tree = rows(found, "flat"), rows(found, "tree of 8")
    most = 1 / 20e-3  # exchanges a second; a worker asks for one in 0.4 s
    assert flat[8]["exchanges_per_s"] == pytest.approx(8 / 0.4, rel=0.03)
    assert flat[8]["served_share"] > 0.97
    for workers in (64, 256):
        assert flat[workers]["exchanges_per_s"] == pytest.approx(most, rel=0.02)
        assert flat[workers]["served_share"] == pytest.approx(most * 0.4 / workers, rel=0.03)
        assert flat[workers]["root_staleness"] == pytest.approx(workers, rel=0.1)
        assert tree[workers]["served_share"] > 0.97
        assert tree[workers]["root_mb_per_s"] < flat[workers]["root_mb_per_s"] / 4
    reach = {row["shape"]: row for row in found["reach"]}
    assert (reach["flat"]["serves_workers"], reach["flat"]["by_arithmetic"]) == (8, 20)
    assert reach["flat, period 16"]["serves_workers"] == 64
    assert reach["tree of 8"]["serves_workers"] == 256


def test_what_passes_the_root_is_two_vectors_an_exchange(found: dict[str, Any]) -> None:
    for row in found["rows"]:
        if row["shape"].startswith("flat"):
            expected = row["exchanges_per_s"] * 8 * N / 1e6
            assert row["root_mb_per_s"] == pytest.approx(expected, rel=0.05)


def test_the_same_study_gives_the_same_rows(found: dict[str, Any]) -> None:
    assert scale(SMALL, COSTS)["rows"] == found["rows"]


def test_scale_is_drawn(found: dict[str, Any], tmp_path: Path) -> None:
    (path,) = draw_scale(found, tmp_path / "new")
    assert Path(path).read_bytes().startswith(b"\x89PNG")


def test_costs_are_read_from_what_the_benchmark_writes(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    row = {"transport": "object_store", "n": N, "format": "float32"}
    measured = [
        row | {"workers": 4, "exchanges_per_s": 200.0},
        row | {"workers": 1, "exchanges_per_s": 100.0},
        row | {"workers": 8, "exchanges_per_s": 900.0, "format": "int8"},
    ]
    path.write_text("a line before\n" + json.dumps({"rows": measured}))
    assert Costs.from_file(str(path)).of("object_store", N) == pytest.approx(5e-3)
    with pytest.raises(BadInput, match="no float32 row for shared_memory at n=1000"):
        Costs.from_file(str(path)).of("shared_memory", N)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not what benchmark exchange"),
        ('{"rows": 3}', "not a list"),
        ('{"rows": [{"format": "float32", "n": 1, "workers": 1}]}', "no proper 'transport'"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_table_of_costs_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput, match=said) as refused:
        Costs.from_file(str(path))
    assert refused.value.field == "--costs"
    assert "benchmark exchange" in str(refused.value)


def test_the_thesis_tree_in_small(tmp_path: Path) -> None:
    options = TreeStudy(data="digits", model="mlp", fan_out=2, looks=looks_up_to(40))
    found = study(options)
    by_name = {row["fleet"]: row for row in found["rows"]}
    assert [row["leaves"] for row in by_name.values()] == [2, 2, 4, 4]
    assert {row["steps"] // row["leaves"] for row in by_name.values()} <= {38, 39, 40}
    flat, tree = by_name["EASGD, 2 workers"], by_name["tree of 4, two time scales"]
    assert flat["root_pushes"] > tree["root_pushes"] >= 0
    assert by_name["DOWNPOUR, 2 workers"]["root_mb"] > 5 * flat["root_mb"]
    assert len(found["curves"]) == 4 * 2
    assert all(0 <= row["val_accuracy"] <= 1 for row in found["curves"])
    (path,) = draw_tree(found, tmp_path)
    assert Path(path).read_bytes().startswith(b"\x89PNG")


def test_looks_double() -> None:
    assert looks_up_to(640) == (20, 40, 80, 160, 320, 640)
    assert looks_up_to(20) == (20,)
