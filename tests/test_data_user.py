"""Data that the user's own function returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from ray_easgd.data import DataSets, open_data
from ray_easgd.errors import BadData

Part = tuple[Tensor, Tensor]


def part(count: int, *shape: int, classes: int = 3) -> Part:
    return torch.rand(count, *shape), torch.arange(count) % classes


class Squares(Dataset[tuple[Tensor, int]]):
    """A map-style data set: the row and its square."""

    classes = ("even", "odd")

    def __len__(self) -> int:
        return 30

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return torch.tensor([row, row**2], dtype=torch.float64), row % 2


class Bare:
    """The least a map-style data set may be."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, row: int) -> Any:
        return np.zeros((1, 4, 4), np.float32), row % 2


class NoSamples(Bare):
    def __getitem__(self, row: int) -> Any:
        return "not a pair of an array and a number"


def good_data() -> tuple[Part, Part]:
    return part(20, 4), part(5, 4)


def test_a_pair_of_tensor_pairs_is_a_data_set() -> None:
    train, test = part(20, 1, 4, 4), part(5, 1, 4, 4, classes=5)
    sets = open_data(lambda: (train, test), seed=0)
    assert (sets.spec.kind, sets.spec.input_shape, sets.spec.num_classes) == ("image", (1, 4, 4), 5)
    inputs, targets = sets.test.batch(np.array([4, 1]))
    assert torch.equal(inputs, test[0][[4, 1]])
    assert targets.tolist() == [4, 1]


def test_a_map_style_data_set_is_read_sample_by_sample() -> None:
    sets = open_data(lambda: (Squares(), Subset(Squares(), range(10, 15))), seed=0)
    assert (sets.spec.kind, sets.spec.input_shape, sets.spec.num_classes) == ("other", (2,), 2)
    inputs, targets = sets.test.batch(np.array([1, 0]))
    assert inputs.dtype == torch.float32
    assert inputs.tolist() == [[11, 121], [10, 100]]
    assert targets.tolist() == [1, 0]


def test_the_training_part_is_held_out_like_any_other() -> None:
    sets = open_data(lambda: (Squares(), Squares()), seed=0)
    rows = [split.batch(np.arange(len(split)))[0][:, 0] for split in (sets.train, sets.validation)]
    assert [len(r) for r in rows] == [27, 3]
    assert sorted(torch.cat(rows).tolist()) == list(range(30))


def test_a_tensor_data_set_is_its_tensors() -> None:
    sets = open_data(lambda: (TensorDataset(*part(20, 4)), part(5, 4)), seed=0)
    assert sets.spec.num_classes == 3


def test_data_sets_are_taken_as_they_are() -> None:
    sets = open_data(good_data, seed=0)
    assert open_data(lambda: sets, seed=5) is sets


def test_a_function_can_be_named_by_its_module() -> None:
    assert len(open_data("tests.test_data_user:good_data", seed=0).train) == 18


def test_bytes_are_read_as_fractions() -> None:
    pixels = torch.full((20, 1, 4, 4), 255, dtype=torch.uint8)
    sets = open_data(lambda: ((pixels, torch.arange(20)), part(5, 1, 4, 4)), seed=0)
    assert sets.train.batch(np.array([0]))[0].unique().tolist() == [1.0]


def test_rows_of_tokens_are_text() -> None:
    tokens = torch.arange(160).reshape(20, 8) % 11
    sets = open_data(lambda: ((tokens, tokens), (tokens, tokens)), seed=0)
    assert (sets.spec.kind, sets.spec.input_shape, sets.spec.num_classes) == ("text", (8,), 11)


def test_real_targets_stay_real() -> None:
    sets = open_data(lambda: ((torch.rand(20, 4), torch.rand(20, 2)), part(5, 4)), seed=0)
    assert sets.train.batch(np.array([0]))[1].dtype == torch.float32


def test_a_data_set_that_does_not_tell_its_classes_has_none() -> None:
    assert open_data(lambda: (Bare(), Bare()), seed=0).spec.num_classes == 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: None, "it returned a NoneType"),
        (lambda: (part(5, 4),) * 3, "it returned a tuple of 3"),
        (lambda: (part(5, 4), 3), "it returned a int as a part"),
        (lambda: (part(5, 4), [1, 2, 3]), "it returned a list of 3 as a part"),
        (lambda: (part(5, 4), iter([])), "as a part"),
        (lambda: ((torch.rand(5, 4), torch.arange(4)), part(5, 4)), "5 inputs with 4 targets"),
        (lambda: (part(5, 4), part(0, 4)), "a part it returned is empty"),
        (lambda: (NoSamples(), part(5, 4)), "its first sample is not a pair"),
    ],
)
def test_anything_else_is_refused_with_the_forms_that_work(
    function: Callable[[], Any], message: str
) -> None:
    with pytest.raises(BadData, match=message) as caught:
        open_data(function, seed=0)
    assert "Return (train, test)" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module_at_all:load", "no module named no_such_module_at_all"),
        ("tests.no_such_module:load", "no module named tests.no_such_module"),
        ("tests.test_data_user:god_data", "Did you mean good_data"),
        ("tests.test_data_user:Part.x", "not of the form"),
        (":load", "not of the form"),
        ("..up:load", "not of the form"),
    ],
)
def test_a_function_that_cannot_be_found_is_refused(name: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        open_data(name, seed=0)


def test_what_fails_in_the_users_module_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_module.py").write_text("import something_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadData, match=r"something_that_is_not_there.*users_module\.py, line 1"):
        open_data("users_module:load", seed=0)


def test_a_users_sets_are_the_same_in_every_process() -> None:
    def rows(sets: DataSets) -> list[float]:
        inputs: list[float] = sets.validation.batch(np.arange(3))[0][:, 0].tolist()
        return inputs

    first, again = (open_data(lambda: (Squares(), Squares()), seed=2) for _ in range(2))
    assert rows(first) == rows(again)
