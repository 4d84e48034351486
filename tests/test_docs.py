"""What pages show is run as it stands; tests, files and headings that they name are there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ray_easgd
from ray_easgd.algorithms import Algorithm, find_method
from ray_easgd.config import Config
from ray_easgd.errors import BadConfig
from ray_easgd.rehearsal import rehearse
from ray_easgd.task import Task

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = DOCS / "adding-a-method.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's first block as a user's own file, where Python finds it."""
    (tmp_path / "my_module.py").write_text(BLOCKS[0], "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_module"
    sys.modules.pop("my_module", None)


@pytest.mark.usefixtures("my_module")
def test_the_blocks_of_adding_a_method_run_in_order() -> None:
    names: dict[str, Any] = {"__name__": __name__}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    assert len(BLOCKS) == 6
    assert names["result"]["exchanges"] == 500


def test_a_users_own_method_is_found_in_his_module(my_module: str) -> None:
    method = find_method(f"{my_module}:INSTALLMENTS")
    assert isinstance(method, Algorithm)
    assert method is sys.modules[my_module].INSTALLMENTS
    with pytest.raises(BadConfig, match=r"algorithm\.name"):
        find_method(f"{my_module}:INSTALMENTS")


def test_a_users_own_method_is_simulated_by_its_name(my_module: str) -> None:
    result = ray_easgd.simulate(
        {
            "algorithm": {"name": f"{my_module}:INSTALLMENTS", "period": 2},
            "simulator": {"problem": "quadratic", "sigma": 0.0, "exchanges": 800},
        }
    )
    assert result["algorithm"] == "installments"
    assert result["second_moment"] < 1e-6


def test_the_places_that_the_page_names_are_there() -> None:
    text = PAGE.read_text("utf-8")
    named = re.findall(r"`((?:ray_easgd|tests|docs)/[\w/]+\.(?:py|md))`", text)
    shown = "ray_easgd/algorithms/installments.py"  # the method that is made up
    missing = [path for path in named if path != shown and not (PAGE.parents[1] / path).exists()]
    assert shown in named
    assert not missing


def test_the_model_and_the_data_of_your_own_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = re.findall(
        r"```python\n(.*?)```", (DOCS / "your-own.md").read_text("utf-8"), re.DOTALL
    )[0]
    name = block.splitlines()[0].removeprefix("# ")
    (tmp_path / name).write_text(block, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        config = Config.build({"data": "mine:load", "model": "mine:build"})
        opened = Task().filled(config).open(config)
        inputs, targets = opened.data.train.batch(np.arange(64))
        loss = opened.loss(opened.build_model()(inputs), targets)
        assert 0.5 < loss.item() < 1.0, "two classes, nothing learned yet"
    finally:
        sys.modules.pop("mine", None)


def test_the_regression_of_your_own_is_a_task() -> None:
    blocks = re.findall(
        r"```python\n(.*?)```", (DOCS / "your-own.md").read_text("utf-8"), re.DOTALL
    )
    (block,) = [block for block in blocks if "loss=" in block]
    names: dict[str, Any] = {"torch": torch, "nn": torch.nn, "Task": Task}
    exec(block, names)
    opened = names["task"].open(Config())
    rehearse(opened, opened.build_model(), batch_size=64)
    inputs, targets = opened.data.train.batch(np.arange(64))
    assert opened.loss(opened.build_model()(inputs), targets).item() > 1.0
    assert opened.correct(targets, targets) == (0, 64)


def heading(line: str) -> str:
    """What a link to it says."""
    return re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "docker" / "README.md", *DOCS.rglob("*.md")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_lead_somewhere(page: Path) -> None:
    for link, _, anchor in re.findall(r"\]\(([^)#\s]*)(#([^)]*))?\)", page.read_text("utf-8")):
        if link.startswith("http"):
            continue
        target = (page.parent / link).resolve() if link else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(heading, headings), link + anchor


@pytest.mark.parametrize("page", ["README.md", "docs/guarantees.md", "docs/troubleshooting.md"])
def test_the_tests_that_prove_a_guarantee_are_there(page: str) -> None:
    root = PAGE.parents[1]
    text = (root / page).read_text("utf-8")
    named = re.findall(r"`(tests/\w+\.py)(?:::(\w+))?`", text)
    assert named
    for path, test in named:
        assert f"def {test}" in (root / path).read_text("utf-8"), f"{path}::{test}"
