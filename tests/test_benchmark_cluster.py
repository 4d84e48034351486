"""The benchmarks on real processes, small: rows are whole, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from actors.benchmark.cases import Case
from ray_easgd.cli import main

if TYPE_CHECKING:
    from actors.benchmark.stage import Stage

pytestmark = pytest.mark.cluster

ROW = {
    *{"transport", "format", "n", "workers", "p50_ms", "p99_ms", "exchanges_per_s"},
    *{"memcpy_ratio", "allreduce_ratio", "ping_p50_ms", "store_growth_bytes"},
    *{"bare_ray_ratio", "bare_ray_ping_p50_ms", "line_share", "step_rate_ratio"},
}


@pytest.fixture(scope="module")
def stage(cluster: None) -> Iterator[Stage]:
    from actors.benchmark.stage import staged

    with staged(2) as found:
        yield found


def row_of(stage: Stage, **case: Any) -> dict[str, Any]:
    from actors.benchmark.exchange import measure_row

    return measure_row(stage, Case(**case), allreduce_s=0.5)


def rows(*words: str) -> list[dict[str, Any]]:
    """The rows of a benchmark that must end well, with every actor of it ended."""
    import ray

    before = set(ray.util.list_named_actors())
    result = CliRunner().invoke(main, ["benchmark", *words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert set(ray.util.list_named_actors()) == before
    found: list[dict[str, Any]] = json.loads(result.stdout.splitlines()[-1])["rows"]
    return found


@pytest.mark.parametrize("transport", ["shared_memory", "object_store"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_row_agrees_with_itself(stage: Stage, transport: str, workers: int) -> None:
    row = row_of(
        stage, transport=transport, format="float32", n=1000, workers=workers, exchanges=40
    )
    assert row.keys() >= ROW
    assert (row["transport"], row["n"], row["workers"]) == (transport, 1000, workers)
    assert row["exchanges"] >= 40
    assert 0 < row["p50_ms"] <= row["p99_ms"]
    aggregate_ms = 1e3 / row["exchanges_per_s"]
    assert row["memcpy_ratio"] == pytest.approx(aggregate_ms / row["memcpy_ms"])
    assert row["allreduce_ratio"] == pytest.approx(500 / row["p50_ms"])
    assert row["ping_p50_ms"] > 0
    assert (row["store_growth_bytes"] is None) == (transport == "shared_memory")
    assert (row["bare_ray_ratio"] is None) == (transport == "shared_memory")
    assert row["line_share"] is row["step_rate_ratio"] is None


@pytest.mark.parametrize(("wire_format", "share"), [("bfloat16", 0.55), ("int8", 0.35)])
def test_a_coded_exchange_carries_fewer_bytes(stage: Stage, wire_format: str, share: float) -> None:
    n = 100_000
    row = row_of(stage, transport="object_store", format=wire_format, n=n, workers=1, exchanges=40)
    assert row["format"] == wire_format
    assert 0 < row["sent_bytes_per_s"] / row["exchanges_per_s"] < share * 4 * n


@pytest.mark.parametrize("transport", ["shared_memory", "object_store"])
def test_what_workers_count_is_what_the_hub_counts(stage: Stage, transport: Any) -> None:
    import ray

    edges = stage.edges(2, transport=transport, wire_format="float32")
    tied = [w.tie_vector.remote(e, 1000) for w, e in zip(stage.workers, edges, strict=True)]
    ray.get(tied)
    windows = ray.get([w.exchange.remote(10, 0.0) for w in stage.workers])
    made = ray.get([w.untie.remote() for w in stage.workers])
    applied = ray.get(stage.center.status.remote()).version.count
    assert [w.exchanges for w in windows] == [10, 10]
    assert applied == sum(made) >= 20
    for window in windows:
        assert list(window.moments) == sorted(window.moments)


def test_the_command_ends_with_its_rows_and_leaves_no_actor(cluster: None) -> None:
    words = ["--n", "1e3", "--workers", "1", "--transport", "object_store", "--exchanges", "22"]
    (row,) = rows("exchange", *words)
    assert row.keys() >= ROW
    assert row["allreduce_ratio"] == pytest.approx(row["allreduce_ms"] / row["p50_ms"])


def test_overhead_compares_equal_blocks_of_one_loop(cluster: None) -> None:
    (row,) = rows("overhead", "--n", "20000", "--period", "4", "--pairs", "2")
    assert row["parameters"] == pytest.approx(20_000, rel=0.05)
    assert row["period"] == 4
    assert row["ratio"] > 0
    assert row["exchanges"] >= 2
