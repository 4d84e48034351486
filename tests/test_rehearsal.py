"""Mistakes in a task of the user's own, found before any process starts."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ray_easgd.config import Config
from ray_easgd.data import DataSpec
from ray_easgd.errors import BadData, BadInput, BadModel
from ray_easgd.rehearsal import rehearse
from ray_easgd.task import Task

Pair = tuple[Tensor, Tensor]


def points() -> tuple[Pair, Pair]:
    inputs = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    classes = torch.arange(40) % 3
    return (inputs, classes), (inputs[:9], classes[:9])


def of_classes(change: Callable[[Tensor], Tensor]) -> Callable[[], tuple[Pair, Pair]]:
    (inputs, classes), _ = points()
    return lambda: ((inputs, change(classes)), (inputs[:9], change(classes[:9])))


def good(spec: DataSpec) -> nn.Module:
    layers = nn.Linear(spec.input_shape[0], 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)
    return nn.Sequential(*layers)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x), x


class Narrow(Two):
    def forward(self, x: Tensor) -> Any:
        return self.layer(x[:, :3])


def broken(spec: DataSpec) -> nn.Module:
    raise KeyError("depth")


def on_a_device(spec: DataSpec) -> nn.Module:
    return nn.Linear(1, 8, True, "cuda:7")


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs.squeeze(-1), targets)


def try_out(**parts: Any) -> None:
    task = Task(**({"model": good, "data": points} | parts)).open(Config())
    rehearse(task, task.build_model(), batch_size=8)


def test_what_goes_together_passes_and_leaves_no_trace() -> None:
    task = Task(model=good, data=points).open(Config())
    model = task.build_model()
    torch.manual_seed(1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    generators = (
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state(legacy=False)["state"]["key"].copy(),
    )
    rehearse(task, model, batch_size=8)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert (np.random.get_state(legacy=False)["state"]["key"] == generators[2]).all()
    assert model.training


@pytest.mark.parametrize(
    ("parts", "error", "field", "said"),
    [
        (
            {"model": lambda spec: nn.Linear(5, 3)},
            BadModel,
            "model",
            r"\(2, 4\) of float32.*shapes",
        ),
        ({"model": lambda spec: Two()}, BadModel, "model", "returned a tuple"),
        ({"model": lambda spec: Narrow()}, BadModel, "model", r"test_rehearsal\.py, line \d+"),
        ({"model": lambda spec: nn.Linear(4, 2)}, BadModel, "model", "the data has 3 classes"),
        ({"model": Two}, BadModel, "model", "It is a class: give a function"),
        ({"model": broken}, BadModel, "model", r"KeyError: 'depth' \(.*test_rehearsal\.py, line"),
        ({"model": on_a_device}, BadModel, "model", r"building it raised.*input_shape=\(4,\)"),
        ({"data": of_classes(lambda c: c - 1)}, BadData, "data", "the class number -1"),
        ({"data": of_classes(Tensor.float)}, BadData, "data", r"targets are \(2,\) of float32"),
        ({"data": of_classes(lambda c: c[:3])}, BadData, "data", "40 inputs with 3 targets"),
        ({"data": lambda: 1 / 0}, BadData, "data", "ZeroDivisionError.*line"),
        ({"loss": lambda outputs, targets: 1 / 0}, BadModel, "loss", "ZeroDivisionError"),
        (
            {"loss": lambda outputs, targets: outputs},
            BadModel,
            "loss",
            "returned .2, 3. of float32",
        ),
    ],
)
def test_a_mistake_is_told_in_the_users_words(
    parts: dict[str, Any], error: type[BadInput], field: str, said: str
) -> None:
    with pytest.raises(error, match=said) as found:
        try_out(**parts)
    assert found.value.field == field


def test_the_traceback_stays_with_the_error() -> None:
    with pytest.raises(BadModel) as found:
        try_out(model=broken)
    assert isinstance(found.value.__cause__, KeyError)


def test_a_loss_of_ones_own_may_take_what_cross_entropy_does_not() -> None:
    try_out(data=of_classes(Tensor.float), model=lambda spec: nn.Linear(4, 1), loss=mse)


def tagged() -> tuple[Pair, Pair]:
    """Tokens up to 999, each with one of 17 tags."""
    tokens = torch.arange(600).reshape(40, 15) + 400
    return (tokens, tokens % 17), (tokens[:9], tokens[:9] % 17)


def tag(spec: DataSpec) -> nn.Module:
    return nn.Sequential(nn.Embedding(1000, 17))


def hardest(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of a whole batch."""
    each = nn.functional.cross_entropy(outputs, targets, reduction="none")
    return each.topk(6).values.mean()


def weighted_on_a_gpu(outputs: Tensor, targets: Tensor) -> Tensor:
    raise AssertionError("Found no NVIDIA driver on your system")


@pytest.mark.parametrize(
    "parts",
    [
        {"data": tagged, "model": tag},
        {"data": of_classes(lambda c: nn.functional.one_hot(c, 3).float())},
        {"loss": hardest},
        {"loss": weighted_on_a_gpu},
    ],
    ids=["tags", "soft labels", "a whole batch", "a GPU's"],
)
def test_what_trains_is_let_pass(parts: dict[str, Any]) -> None:
    try_out(**parts)


def test_a_module_with_a_mistake_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "misspelt_model.py").write_text("def build(spec)\n    pass\n")
    with pytest.raises(BadModel, match=r"SyntaxError.*misspelt_model\.py, line 1"):
        try_out(model="misspelt_model:build")
