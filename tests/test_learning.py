"""ray-easgd reproduce learning, on the digits: what it keeps and writes, and what it sees."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from ray_easgd.algorithms import Add
from ray_easgd.algorithms.downpour import DownpourExchange
from ray_easgd.algorithms.elastic import ElasticExchange
from ray_easgd.cli import main
from ray_easgd.figures.learning import SIZES, STUDIES, Size, learn
from ray_easgd.figures.learning.contests import Contestant, Runs
from ray_easgd.figures.learning.size import PatchNet

TINY = Size(
    data=("digits",),
    models=(PatchNet,),
    train=None,
    validation=None,
    test=None,
    batch_size=16,
    steps=120,
    looks=3,
    seeds=(0,),
    grid=(0.3,),
    workers=(4,),
    periods=(1, 16),
)
PERIODS = "L2"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As the command does: on vectors so small, more of them wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["reproduce", *words], catch_exceptions=False)


def studied(folder: Path, *, tell: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """The verdict on the communication period."""
    (verdict,) = learn(TINY, folder, chosen=[PERIODS], tell=tell)
    return verdict


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny study has been made."""
    out = tmp_path_factory.mktemp("learning")
    studied(out)
    return out


def test_a_study_is_a_picture_a_table_and_a_verdict(folder: Path) -> None:
    verdict = json.loads((folder / "L2.json").read_text("utf-8"))
    assert verdict["agrees"], verdict["reason"]
    assert len(verdict["values"]["best"]["digits"]) == 1 + 3 * len(TINY.periods)
    assert (folder / "L2.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "L2.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == TINY.looks * (1 + 3 * len(TINY.periods))
    assert {row["method"] for row in rows} == {"msgd", "easgd", "eamsgd", "downpour"}


def test_a_study_that_was_cut_goes_on_where_it_stood(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    whole = json.loads((tmp_path / "L2.json").read_text("utf-8"))
    lost = next((tmp_path / "learning-cells").glob("digits-msgd-*.json"))
    lost.unlink()
    made: list[str] = []
    assert studied(tmp_path, tell=made.append)["values"] == whole["values"]
    assert made == [lost.stem]
    studied(tmp_path, tell=made.append)
    assert made == [lost.stem]


# -- a wrong sign is seen ----------------------------------------------------------------------


def backwards(method: Any) -> Any:
    """The same with its result's sign turned."""

    def turned(*arguments: Any, **options: Any) -> Any:
        return -method(*arguments, **options)

    return turned


def subtract(self: Any, c: Tensor, d: Tensor, state: Any, arrival: Any) -> None:
    c.sub_(d)


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "untouched"),
    [
        (ElasticExchange, "difference", backwards(ElasticExchange.difference), "downpour"),
        (DownpourExchange, "difference", backwards(DownpourExchange.difference), "ea"),
        (Add, "apply_", subtract, "no-method-at-all"),
    ],
)
def test_a_wrong_sign_in_an_algorithm_makes_the_study_disagree(
    owner: type,
    name: str,
    wrong: Any,
    untouched: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for cell in (tmp_path / "learning-cells").iterdir():
        if not cell.name.startswith(f"digits-{untouched}"):
            cell.unlink()
    monkeypatch.setattr(owner, name, wrong)
    monkeypatch.setattr("ray_easgd.figures.writing._draw", lambda *_: None)
    verdict = studied(tmp_path)
    assert verdict["agrees"] is False
    assert "digits: " in verdict["reason"]


# -- rules of the contest ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "workers", "expected"),
    [
        ("easgd", 4, (0.1, 0.2)),
        ("eamsgd", 4, (0.01, 0.02)),
        ("msgd", 1, (0.01, 0.02)),
        ("downpour", 4, (0.025, 0.05)),
    ],
)
def test_every_method_tries_as_many_rates_at_the_same_pace_of_the_center(
    method: str, workers: int, expected: tuple[float, ...]
) -> None:
    who = Contestant(data="digits", method=method, workers=workers)
    assert who.rates((0.1, 0.2)) == pytest.approx(expected)


def curves(*seeds: list[float]) -> Runs:
    looks = [
        [{"test_accuracy": a, "bytes": 100 * (k + 1)} for k, a in enumerate(seed)] for seed in seeds
    ]
    who = Contestant(data="digits", method="easgd", workers=4)
    return Runs(contestant=who, lr=0.1, steps=10, curves=looks)


def test_the_best_is_each_seeds_and_the_bytes_are_to_the_means_accuracy() -> None:
    runs = curves([0.2, 0.8, 0.6], [0.4, 0.4, 0.5])
    assert runs.best == pytest.approx([0.8, 0.5])
    assert runs.mean == pytest.approx([0.3, 0.6, 0.55])
    assert runs.bytes_until(0.6) == pytest.approx(200)
    assert runs.bytes_until(0.7) == np.inf


def test_a_fleet_that_broke_down_stays_at_what_it_had_reached() -> None:
    assert curves([0.2, 0.8, 0.6], [0.4]).mean == pytest.approx([0.3, 0.6, 0.5])
    assert curves([], [0.4]).best == pytest.approx([0.0, 0.4])


def test_only_a_known_data_set_is_studied_and_only_a_study_takes_its_options(
    tmp_path: Path,
) -> None:
    unknown = run("learning", "--out", str(tmp_path), "--data", "mnist")
    assert unknown.exit_code == 2
    assert "fashion_mnist, cifar10" in unknown.stderr
    misplaced = run("E2", "--out", str(tmp_path), "--data", "cifar10")
    assert misplaced.exit_code == 2
    assert "L2" in misplaced.stderr


def test_the_small_study_is_the_papers_in_periods_workers_and_seeds() -> None:
    small = SIZES["small"]
    assert (small.periods, small.workers, len(small.seeds)) == ((1, 4, 16, 64), (4, 8, 16), 3)
    assert small.long_periods[-1] == 1000
    assert small.only(("cifar10",)).models == (small.model_of("cifar10"),)
    assert list(STUDIES) == ["L2", "L3", "L8", "L9"]
