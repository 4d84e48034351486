"""Peers and the grid on real processes, small: one plain, and ours on a Ray of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ray_easgd.cli import main

pytestmark = [pytest.mark.cluster, pytest.mark.long]

SMALL = ["--data", "digits", "--samples", "30000", "--target", "0.5", "--pair-s", "0"]


def test_two_contenders_train_the_same_and_are_told_apart(tmp_path: Path) -> None:
    words = ["benchmark", "peers", *SMALL, "--only", "one_process", "--only", "easgd"]
    ended = CliRunner().invoke(
        main, [*words, "--keep", str(tmp_path / "kept"), "--json"], catch_exceptions=False
    )
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout.splitlines()[-1])
    rows = {row["peer"]: row for row in told["rows"]}
    assert rows.keys() == {"one_process", "easgd"}
    for row in rows.values():
        assert row["reason"] is None
        assert row["final_accuracy"] > 0.8
        assert 0 < row["first_step_s"] <= row["all_stepped_s"]
        assert row["first_step_s"] <= row["time_to_target_s"]
        assert row["peak_memory_mib"] > 50
    assert rows["one_process"]["samples_per_s"] > 0
    assert [row["runs"] for row in told["medians"]] == [1, 1]
    assert {path.name for path in (tmp_path / "kept").iterdir()} >= {"001-one_process"}


def test_a_grid_names_its_best_cell_and_holds_the_recommendation_against_it() -> None:
    words = ["benchmark", "grid", "--data", "digits", "--model", "mlp", "--workers", "2"]
    words += ["--samples", "40000", "--target", "0.5", "--period", "16", "--rate", "0.1"]
    ended = CliRunner().invoke(main, [*words, "--repeats", "1", "--json"], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["best"] == "period 16 rate 0.1"
    assert told["recommended"] == "period 4 rate 0.45", "beta 0.9 shared by two"
    assert [(row["peer"], row["seed"]) for row in told["rows"]] == [
        (told["best"], 0),
        (told["best"], 1),
        (told["recommended"], 1),
    ]
    assert told["ratio"] == pytest.approx(told["recommended_s"] / told["best_s"])
