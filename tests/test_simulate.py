"""A whole configuration on the virtual cluster: in Python and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ray_easgd
from ray_easgd.algorithms import METHODS
from ray_easgd.cli import main
from ray_easgd.errors import BadConfig, Diverged

JOBS = Path(__file__).parent.parent / "jobs" / "configs"
TREE = [{"fan_out": 2, "period": 8}, {"fan_out": 2, "period": 4}]
KEYS = {
    "algorithm",
    "problem",
    "num_workers",
    "waits_for",
    "virtual_s",
    "steps",
    "samples",
    "exchanges",
    "exchanges_late",
    "bytes_sent",
    "bytes_received",
    "staleness_mean",
    "staleness_max",
    "levels",
    "center_sha256",
    "loss",
    "second_moment",
    "wall_s",
}


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *words], catch_exceptions=False)


def quadratic(*, sim: dict[str, Any] | None = None, **groups: Any) -> dict[str, Any]:
    """``ray_easgd.simulate`` of EASGD on a quadratic, unless other groups are given."""
    simulator = {"problem": "quadratic"} | (sim or {})
    return ray_easgd.simulate({"algorithm": {"name": "easgd"}, "simulator": simulator} | groups)


def refused(*, sim: dict[str, Any] | None = None, **groups: Any) -> BadConfig:
    with pytest.raises(BadConfig) as error:
        quadratic(sim=sim, **groups)
    return error.value


# -- what it says ------------------------------------------------------------------------------


def test_the_last_line_is_one_object_with_these_keys() -> None:
    result = run("simulator.problem=quadratic", "simulator.exchanges=50", "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout.splitlines()[-1])
    assert set(said) == KEYS
    assert said["exchanges"] == said["levels"][0]["exchanges"] == 50
    assert said["samples"] == 32 * said["steps"]
    assert said["waits_for"] == "nobody"


def test_people_read_the_same_as_a_table() -> None:
    result = run("simulator.problem=quadratic", "simulator.exchanges=50")
    assert result.exit_code == 0
    assert "virtual s" in result.stdout
    assert "moving_rate" in result.stdout, "one row a level"


def test_a_tree_is_summed_up_level_by_level() -> None:
    result = quadratic(sim={"exchanges": 100}, topology={"levels": TREE})
    root, inner = result["levels"]
    assert (root["hubs"], inner["hubs"]) == (1, 2)
    assert root["exchanges"] + inner["exchanges"] == result["exchanges"] == 100
    assert (root["moving_rate"], inner["moving_rate"]) == pytest.approx((0.45, 0.3))


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_is_simulated(name: str) -> None:
    result = quadratic(sim={"exchanges": 52, "jitter": 0.1}, algorithm={"name": name})
    assert result["exchanges"] == 52, "13 rounds, where there are rounds"
    assert result["algorithm"] == name
    assert result["num_workers"] == (1 if METHODS[name].sequential else 4)
    assert result["waits_for"] == METHODS[name].waits
    assert result["second_moment"] < 1.0, "better than the start"


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    words = ["simulator.problem=quadratic", "simulator.jitter=0.3", "simulator.latency_s=0.5"]
    fault = "simulator.faults=[{at_s: 30, kind: crash}, {at_s: 50, kind: join}]"

    def trace(name: str, seed: int) -> bytes:
        path = tmp_path / name
        result = run(*words, fault, "stop.seconds=100", f"seed={seed}", "--trace", str(path))
        assert result.exit_code == 0, result.stderr
        return path.read_bytes()

    first = trace("a", 1)
    assert first.count(b"\n") > 30
    assert trace("b", 1) == first
    records = [line for line in first.splitlines() if b'"event": "push"' in line]
    others = [line for line in trace("c", 2).splitlines() if b'"event": "push"' in line]
    assert records
    assert records != others


@pytest.mark.slow
def test_the_shipped_tree_of_256_workers_runs() -> None:
    result = run(str(JOBS / "simulate_tree.yaml"), "--json")
    said = json.loads(result.stdout.splitlines()[-1])
    assert (said["num_workers"], said["exchanges"]) == (256, 10_000)
    assert [level["hubs"] for level in said["levels"]] == [1, 16]
    assert said["second_moment"] < 0.05


def test_a_real_network_learns_on_virtual_workers() -> None:
    words = ["fleet.workers=2", "simulator.exchanges=80", "optimizer.lr=0.05", "algorithm.period=5"]
    said = json.loads(run("data=digits", "model=mlp", *words, "--json").stdout.splitlines()[-1])
    assert said["val_accuracy"] > 0.9
    assert said["problem"] == "task"


# -- when it ends ------------------------------------------------------------------------------


def test_it_ends_after_virtual_seconds() -> None:
    result = quadratic(sim={"step_s": 0.5}, stop={"seconds": 33.0})
    assert result["virtual_s"] == 33.0
    assert result["steps"] == 4 * 66


@pytest.mark.parametrize("samples", [32 * 1000, 32 * 1000 - 31])
def test_it_ends_after_samples(samples: int) -> None:
    result = quadratic(sim={"jitter": 0.1}, stop={"samples": samples})
    assert result["steps"] == 1000
    assert result["samples"] >= samples


@pytest.mark.parametrize(("workers", "steps"), [(4, 10), (64, 1000)])
def test_it_ends_after_samples_where_all_step_at_once(workers: int, steps: int) -> None:
    result = quadratic(stop={"samples": 32 * steps}, fleet={"workers": workers})
    assert result["steps"] == steps


def test_what_comes_first_ends_it() -> None:
    by_time = quadratic(sim={"exchanges": 10_000}, stop={"seconds": 50, "samples": 10**6})
    assert by_time["virtual_s"] == 50
    by_exchanges = quadratic(sim={"exchanges": 3}, stop={"seconds": 50, "samples": 10**6})
    assert by_exchanges["exchanges"] == 3


def test_it_ends_where_nobody_is_left() -> None:
    faults = [{"at_s": 20.0 + k, "kind": "crash", "worker": k} for k in range(4)]
    result = quadratic(sim={"faults": faults, "exchanges": 1000})
    assert result["num_workers"] == 0
    assert 0 < result["exchanges"] < 20


def test_progress_is_told_up_to_the_end() -> None:
    told: list[tuple[float, str]] = []
    config = {"simulator": {"problem": "quadratic", "exchanges": 200}}
    ray_easgd.simulate(config, on_progress=lambda share, line: told.append((share, line)))
    shares = [share for share, _ in told]
    assert len(shares) > 10
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert told[-1][1].startswith("200 exchanges")


# -- what happens to it ------------------------------------------------------------------------


def test_faults_happen_when_they_are_due() -> None:
    faults = [
        {"at_s": 20, "kind": "crash", "worker": 0},
        {"at_s": 30, "kind": "join"},
        {"at_s": 40, "kind": "join"},
        {"at_s": 50, "kind": "leave", "worker": 4},
        {"at_s": 60, "kind": "stop", "worker": 1, "seconds": 20},
        {"at_s": 100, "kind": "hub_loss", "seconds": 5},
    ]
    result = quadratic(sim={"faults": faults}, stop={"seconds": 200})
    assert result["num_workers"] == 4
    steps = [20, 200 - 20, 200, 200, 50 - 30, 200 - 40]
    assert result["steps"] == pytest.approx(sum(steps), abs=len(steps))


def test_a_slow_worker_is_slow_and_holds_up_only_those_who_wait() -> None:
    slow = {"slowness": [4, 1], "exchanges": 200}
    free = quadratic(sim=slow)
    lockstep = quadratic(sim=slow, algorithm={"name": "easgd_sync"})
    assert free["virtual_s"] < 0.5 * lockstep["virtual_s"]


def test_a_narrow_wire_makes_exchanges_late() -> None:
    wide = quadratic(sim={"size": 100, "exchanges": 100})
    narrow = quadratic(sim={"size": 100, "exchanges": 100, "bytes_per_s": 30.0})
    assert wide["exchanges_late"] == 0 < narrow["exchanges_late"]
    assert narrow["virtual_s"] > wide["virtual_s"]


@pytest.mark.parametrize(
    "problem", ["gamma_quadratic", "double_well", {"problem": "double_well", "saddle": True}]
)
def test_other_problems_have_values_of_their_own(problem: Any) -> None:
    sim = problem if isinstance(problem, dict) else {"problem": problem}
    result = quadratic(sim=sim | {"sigma": 0.0, "exchanges": 100})
    assert 0 <= result["loss"] < 0.26


def test_messages_run_on_a_tree_until_their_seconds_are_over() -> None:
    topology = {"levels": TREE, "scheme": "messages"}
    result = quadratic(topology=topology, stop={"seconds": 100})
    assert (result["virtual_s"], result["num_workers"]) == (pytest.approx(100), 4)
    assert [level["hubs"] for level in result["levels"]] == [1, 2]
    assert result["exchanges"] > 100
    assert result["second_moment"] < 0.5


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "field", "said"),
    [
        ({"stop": {"accuracy": 0.9}}, "stop.accuracy", "not tested on the way"),
        (
            {"sim": {"faults": [{"at_s": 3, "kind": "crash", "worker": 9}]}},
            "simulator.faults",
            "there are 4 workers",
        ),
        (
            {"sim": {"faults": [{"at_s": 3, "kind": "crsh"}]}},
            "simulator.faults.0.kind",
            "'crash', 'stop'",
        ),
        ({"sim": {"szie": 4}}, "simulator.szie", "Did you mean 'simulator.size'?"),
        ({"simulater": {}}, "simulater", "there is no such key"),
        ({"topology": {"scheme": "messages"}}, "topology.levels", "messages run on a tree"),
        ({"fleet": {"workers": 2}, "algorithm": {"name": "sgd"}}, "fleet.workers", "sequential"),
    ],
)
def test_what_cannot_be_simulated_is_refused(groups: dict[str, Any], field: str, said: str) -> None:
    error = refused(**groups)
    assert error.field == field
    assert said in str(error)


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("easgd", "outer_lr", 0.5, "has no outer lr"),
        ("easgd", "scheme", "jacobi", "has one order only"),
        ("easgd", "as_printed", True, "has no as printed"),
        ("easgd", "center_rate", 0.1, "has no center rate"),
        ("easgd", "momentum", 0.5, "has no momentum of its own"),
        ("gauss_seidel", "order", "between_steps", "defined by the order at_snapshot"),
        ("downpour", "order", "at_snapshot", "Leave algorithm.order away"),
    ],
)
def test_a_setting_that_the_method_lacks_is_refused(
    name: str, key: str, value: object, said: str
) -> None:
    error = refused(algorithm={"name": name, key: value})
    assert error.field == f"algorithm.{key}"
    assert error.value == value
    assert said in str(error)


def test_an_order_that_a_scheme_contradicts_is_refused() -> None:
    two_rate = {"name": "two_rate", "scheme": "full_gauss_seidel"}
    assert refused(algorithm=two_rate | {"order": "at_snapshot"}).field == "algorithm.order"
    allowed = two_rate | {"order": "between_steps"}
    assert quadratic(sim={"exchanges": 40}, algorithm=allowed)["exchanges"] == 40


def drifting(workers: int, rate: float = -0.2, period: int = 1) -> dict[str, Any]:
    algorithm = {"name": "two_rate", "moving_rate": rate, "center_rate": 0.2, "period": period}
    return {
        "algorithm": algorithm,
        "optimizer": {"lr": 0.1},
        "fleet": {"workers": workers},
        "sim": {"exchanges": 500},
    }


def test_workers_that_would_drift_apart_are_refused() -> None:
    """mathematics.md, 3.4: differences grow by 1 - eta h - alpha = 1.1 a period."""
    error = refused(**drifting(4))
    assert error.field == "algorithm.moving_rate"
    assert "grow by 1.1" in error.problem
    assert "above -0.1" in error.remedy


@pytest.mark.parametrize("allowed", [drifting(1), drifting(4, rate=-0.09), drifting(4, period=10)])
def test_a_negative_rate_without_drift_is_allowed(allowed: dict[str, Any]) -> None:
    assert quadratic(**allowed)["second_moment"] < 1.0


def test_a_moving_rate_that_swings_is_blamed_rather_than_the_learning_rate() -> None:
    groups = {"simulator": {"problem": "quadratic"}, "algorithm": {"name": "easgd"}}
    with pytest.raises(BadConfig, match="swings ever wider") as refused:
        ray_easgd.simulate(groups | {"algorithm": {"name": "easgd", "moving_rate": 3}})
    assert refused.value.field == "algorithm.moving_rate"
    with pytest.raises(Diverged, match=r"optimizer\.lr"):
        ray_easgd.simulate(groups | {"optimizer": {"lr": 5}})


def test_the_command_says_what_is_wrong_and_ends_with_two() -> None:
    result = run("simulator.problem=quadratic", "stop.accuracy=0.9")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("bad input: stop.accuracy = 0.9")


def test_a_goal_that_is_far_away_is_told_of_all_the_same() -> None:
    def stop_it(share: float, line: str) -> None:
        raise KeyboardInterrupt

    config = {"simulator": {"problem": "quadratic"}, "stop": {"seconds": 1e9}}
    with pytest.raises(KeyboardInterrupt):
        ray_easgd.simulate(config, on_progress=stop_it)


def test_a_tree_of_more_workers_than_can_be_simulated_is_refused() -> None:
    levels = [{"fan_out": 1000, "period": 1}, {"fan_out": 1000, "period": 1}]
    config = {"simulator": {"problem": "quadratic"}, "topology": {"levels": levels}}
    with pytest.raises(BadConfig, match=r"1000000 workers.*fan-outs"):
        ray_easgd.simulate(config)
