"""ray-easgd reproduce: what it writes, and that a wrong sign in an algorithm is seen."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from torch import Tensor

from ray_easgd.algorithms import Add, Nesterov
from ray_easgd.algorithms.admm import AdmmExchange
from ray_easgd.algorithms.downpour import DownpourExchange
from ray_easgd.algorithms.elastic import ElasticExchange
from ray_easgd.algorithms.two_rate import JacobiExchange
from ray_easgd.cli import main
from ray_easgd.figures import FIGURES, Check, Found, fleets
from ray_easgd.figures.outcome import mean_of, quoted

QUICK = ("E2", "E3", "E5", "E9", "E13", "E16", "E18")
"""Each under a second or two; together they touch every exchange that a figure looks at."""


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["reproduce", *words], catch_exceptions=False)


def computed(name: str) -> Found:
    """A figure on a coarse grid: its checks are not on the grid."""
    figure = FIGURES[name]
    coarse = {"points": 24} if "points" in figure.parameters and name != "E16" else {}
    return figure.compute(**{**figure.parameters, **coarse})


def test_every_figure_of_the_mathematics_has_an_entry_with_its_section() -> None:
    text = (Path(__file__).parents[1] / "docs" / "mathematics.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| (E\d+) \| ([\d., ]+) \|", text, flags=re.MULTILINE))
    assert list(listed) == list(FIGURES)
    assert all(FIGURES[name].section in sections.split(", ") for name, sections in listed.items())


@pytest.mark.parametrize("name", QUICK)
def test_a_figure_agrees(name: str) -> None:
    found = computed(name)
    assert found.agrees, found.reason


def test_a_figure_is_a_picture_a_table_and_a_verdict(tmp_path: Path) -> None:
    result = run("e2", "--out", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    verdict = json.loads(result.stdout.splitlines()[-1])
    assert verdict == json.loads((tmp_path / "E2.json").read_text("utf-8"))
    assert verdict["figure"] == "E2"
    assert verdict["agrees"] is True
    assert verdict["values"]["gamma"] == pytest.approx(0.6531128874)
    assert "20 numbers agree" in verdict["reason"]
    assert (tmp_path / "E2.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "E2.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 11
    assert float(rows[10]["mean"]) == pytest.approx(0.0201975)


def test_an_unknown_figure_is_a_usage_error_that_names_the_known_ones(tmp_path: Path) -> None:
    result = run("E99", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert all(name in result.stderr for name in ("E99", "E1,", "E21", "all"))


def test_all_ends_with_one_object_and_code_1_where_one_disagrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray_easgd.figures import catalog

    def flat_pull(self: Any, x: Tensor, c: Tensor, state: Any, *, moving_rate: float) -> Tensor:
        return (c - x).mul_(moving_rate)

    chosen = {name: catalog.FIGURES[name] for name in ("E2", "E9")}
    monkeypatch.setattr("ray_easgd.figures.FIGURES", chosen)
    monkeypatch.setattr(ElasticExchange, "difference", flat_pull)
    result = run("all", "--out", str(tmp_path), "--json")
    assert result.exit_code == 1
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    assert [o["figure"] for o in objects] == ["E2", "E9", "all"]
    assert [o["agrees"] for o in objects] == [False, True, False]
    assert "simulated" in objects[0]["reason"]
    assert objects[2]["reason"] == "1 of 2 figures agree; not E2"
    assert set(objects[2]["values"]) == {"E2", "E9"}


# -- a wrong sign is seen ----------------------------------------------------------------------


def backwards(method: Any) -> Any:
    """The same with its result's sign turned."""

    def turned(*arguments: Any, **options: Any) -> Any:
        return -method(*arguments, **options)

    return turned


def subtract(self: Any, c: Tensor, d: Tensor, state: Any, arrival: Any) -> None:
    c.sub_(d)


def uphill(self: Any) -> None:
    x, g = self._pairs()
    for vector, gradient in zip(x, g, strict=True):
        vector.data.add_(gradient, alpha=self.lr)


@pytest.mark.parametrize(
    ("figure", "owner", "name", "wrong"),
    [
        ("E2", ElasticExchange, "difference", backwards(ElasticExchange.difference)),
        ("E2", Add, "apply_", subtract),
        ("E2", Nesterov, "step", uphill),
        ("E3", AdmmExchange, "displacement", backwards(AdmmExchange.displacement)),
        ("E5", ElasticExchange, "difference", backwards(ElasticExchange.difference)),
        ("E9", JacobiExchange, "displacement", backwards(JacobiExchange.displacement)),
        ("E13", ElasticExchange, "difference", backwards(ElasticExchange.difference)),
        ("E16", JacobiExchange, "difference", backwards(JacobiExchange.difference)),
        ("E18", DownpourExchange, "difference", backwards(DownpourExchange.difference)),
    ],
)
def test_a_wrong_sign_in_an_algorithm_makes_its_figure_disagree(
    figure: str, owner: type, name: str, wrong: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, wrong)
    monkeypatch.setattr("ray_easgd.figures.writing._draw", lambda *_: None)
    result = run(figure, "--out", str(tmp_path), "--json")
    verdict = json.loads(result.stdout.splitlines()[-1])
    assert result.exit_code == 1
    assert verdict["agrees"] is False
    assert "simulat" in verdict["reason"]


# -- verdicts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "holds"), [(1.0, True), (1.04, True), (1.06, False), (float("nan"), False)]
)
def test_a_check_holds_within_what_it_allows(found: float, *, holds: bool) -> None:
    assert Check("x", found, 1.0, 0.05).holds is holds


def test_a_reason_names_what_failed_or_what_came_closest() -> None:
    checks = [Check("a", 1.0, 1.0, 0.1), Check("b", 1.08, 1.0, 0.1)]
    fine = Found(checks=checks, rows=[{}], draw=lambda _: None)
    assert fine.reason == (
        "all 2 numbers agree; the widest deviation is 80% of what is allowed (b)"
    )
    failed = Found(checks=[*checks, Check("c", 2.0, 1.0, 0.1)], rows=[{}], draw=lambda _: None)
    assert failed.reason == "c: 2, not 1 within 0.1"
    assert not failed.agrees


def test_quoted_numbers_are_held_to_their_digits_and_means_to_their_error() -> None:
    assert quoted("x", 0.12344, 0.1234, 4).holds
    assert not quoted("x", 0.12346, 0.1234, 4).holds
    samples = [0.0, 2.0] * 50
    assert mean_of("x", samples, 1.45).holds
    assert not mean_of("x", samples, 1.55).holds


def test_a_cycle_of_a_fleet_is_read_off_its_runs() -> None:
    """Plain SGD of one worker whose center follows: x' = q x, whatever the start."""
    measured = fleets.measured_map(fleets.registered("sgd"), p=1, eta_h=0.3, center="none")
    assert measured == pytest.approx(0.7)
