"""What docs/adding-a-method.md shows is run as it stands; tests that pages name are there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ray_easgd
from ray_easgd.algorithms import Algorithm, find_method
from ray_easgd.errors import BadConfig

PAGE = Path(__file__).parents[1] / "docs" / "adding-a-method.md"
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


@pytest.mark.parametrize("page", ["README.md", "docs/guarantees.md", "docs/troubleshooting.md"])
def test_the_tests_that_prove_a_guarantee_are_there(page: str) -> None:
    root = PAGE.parents[1]
    text = (root / page).read_text("utf-8")
    named = re.findall(r"`(tests/\w+\.py)(?:::(\w+))?`", text)
    assert named
    for path, test in named:
        assert f"def {test}" in (root / path).read_text("utf-8"), f"{path}::{test}"
