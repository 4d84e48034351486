"""Models by name: their shapes, their sizes, their bits, and the data they do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ray_easgd.data import DataSpec, open_data
from ray_easgd.errors import BadModel
from ray_easgd.models import MODELS, build_model, count_correct, loss_function, preferred_crop


def images(*shape: int, num_classes: int = 10) -> DataSpec:
    return DataSpec(kind="image", input_shape=shape, num_classes=num_classes)


def spec_of(kind: Literal["text", "other"], *shape: int, num_classes: int = 10) -> DataSpec:
    return DataSpec(kind=kind, input_shape=shape, num_classes=num_classes)


TEXT = spec_of("text", 64, num_classes=65)
FITTING = [
    ("mlp", images(1, 28, 28)),
    ("mlp", spec_of("other", 7)),
    ("small_cnn", images(1, 8, 8)),
    ("small_cnn", images(1, 28, 28)),
    ("small_cnn", images(3, 32, 32)),
    ("small_gpt", TEXT),
    ("cifar_cnn", images(3, 28, 28)),
    ("cifar_cnn", images(1, 28, 28)),
    ("resnet18", images(3, 32, 32)),
]


def inputs_for(spec: DataSpec, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if spec.kind == "text":
        size = (count, *spec.input_shape)
        return torch.randint(spec.num_classes, size, generator=generator)
    return torch.randn(count, *spec.input_shape, generator=generator)


def size_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def tiny(spec: DataSpec) -> nn.Module:
    return nn.Linear(spec.input_shape[0], spec.num_classes)


def no_model(spec: DataSpec) -> Any:
    return "no model"


@pytest.mark.parametrize(("name", "spec"), FITTING)
def test_a_model_gives_one_output_per_class(name: str, spec: DataSpec) -> None:
    outputs = build_model(name, spec, seed=0)(inputs_for(spec))
    per_sample = (64, 65) if spec.kind == "text" else (spec.num_classes,)
    assert outputs.shape == (2, *per_sample)


@pytest.mark.parametrize(("name", "spec"), FITTING)
def test_the_same_seed_gives_the_same_bits(name: str, spec: DataSpec) -> None:
    first, again, other = (build_model(name, spec, seed=seed).state_dict() for seed in (7, 7, 8))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", ["mlp", "small_cnn", "cifar_cnn"])
def test_building_leaves_torchs_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    assert build_model(name, images(3, 28, 28), seed=1).training
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "spec", "size"),
    [
        ("mlp", images(1, 28, 28), 109_386),
        ("small_cnn", images(1, 28, 28), 105_866),
        ("small_gpt", TEXT, 804_096),
        ("cifar_cnn", images(3, 28, 28), 4_864 + 204_928 + 73_792 + 65_792 + 2_570),
    ],
)
def test_sizes_are_as_documented(name: str, spec: DataSpec, size: int) -> None:
    assert size_of(build_model(name, spec, seed=0)) == size
    assert f"{size:,} parameters" in (MODELS[name].__doc__ or "")


SIDES = {
    "cifar_cnn": [(64, 24), (64, 12), (128, 8), (128, 4), (64, 2)],
    "imagenet_cnn": [
        *[(96, 108), (96, 36), (256, 32), (256, 16)],
        *[(384, 14), (384, 13), (256, 12), (256, 6)],
    ],
}


@pytest.mark.parametrize(("name", "side"), [("cifar_cnn", 28), ("imagenet_cnn", 221)])
def test_the_thesiss_networks_have_its_channels_and_sides(name: str, side: int) -> None:
    """On the meta device, where nothing is computed: the ImageNet network has 61 M parameters."""
    with torch.device("meta"):
        model = MODELS[name](images(3, side, side))
        assert isinstance(model, nn.Sequential)
        x, seen = torch.empty(1, 3, side, side), []
        for layer in model:
            x = layer(x)
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                seen.append((x.shape[1], x.shape[2]))
    assert seen == SIDES[name]
    if name == "imagenet_cnn":
        assert size_of(model) == 61_128_808 - 990 * 4097  # here with ten classes


@pytest.mark.parametrize(("name", "side", "bias"), [("cifar_cnn", 28, 0.0)])
def test_the_thesiss_biases(name: str, side: int, bias: float) -> None:
    model = build_model(name, images(3, side, side), seed=0)
    biases = [p for key, p in model.named_parameters() if key.endswith("bias")]
    assert len(biases) == 5
    assert all((b == bias).all() for b in biases)


def test_dropout_of_one_half_follows_each_dense_layer() -> None:
    cifar = build_model("cifar_cnn", images(3, 28, 28), seed=0)
    assert [m.p for m in cifar.modules() if isinstance(m, nn.Dropout)] == [0.5]


def test_the_gpt_does_not_see_the_future() -> None:
    model = build_model("small_gpt", TEXT, seed=0)
    tokens = inputs_for(TEXT, count=1)
    changed = tokens.clone()
    changed[0, 40:] = (changed[0, 40:] + 1) % 65
    difference = (model(tokens) - model(changed)).abs().amax(-1)[0]
    assert difference[:40].max() < 1e-5
    assert difference[40:].min() > 1e-5


def test_the_gpt_starts_out_undecided() -> None:
    model = build_model("small_gpt", TEXT, seed=0)
    tokens = inputs_for(TEXT, count=8)
    loss = loss_function(TEXT)(model(tokens), tokens.roll(1, 1))
    torch.testing.assert_close(loss, torch.tensor(65.0).log(), atol=0.3, rtol=0)


@pytest.mark.parametrize(
    ("name", "crop"), [("cifar_cnn", 28), ("imagenet_cnn", 221), ("mlp", None), ("a:b", None)]
)
def test_models_say_which_crop_they_want(name: str, crop: int | None) -> None:
    assert preferred_crop(name) == crop


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("mlp", TEXT, "Use small_gpt"),
        ("small_cnn", TEXT, "Use small_gpt"),
        ("small_cnn", spec_of("other", 7), "Use mlp"),
        ("small_cnn", images(1, 3, 9), "data is 3 x 9"),
        ("small_gpt", images(1, 28, 28), "it takes text, and the data is image"),
        ("cifar_cnn", images(3, 32, 32), "Open the data with crop=28"),
        ("cifar_cnn", spec_of("other", 7), "it takes images"),
        ("imagenet_cnn", images(3, 28, 28), "images of 221 x 221, and the data is 28 x 28"),
        ("resnet18", images(1, 28, 28), "take RGB, and the data has 1 channel"),
        ("resnet18", TEXT, "Use small_gpt"),
        ("alexnet", images(3, 16, 16), "does not take images of 16 x 16"),
        ("resnet81", images(3, 32, 32), r"Did you mean resnet18\? Known: mlp, small_cnn"),
        ("smal_cnn", images(3, 32, 32), "Did you mean small_cnn"),
        ("mlp", images(1, 8, 8, num_classes=0), "Give the data set an attribute num_classes"),
        ("tests.test_models:no_model", TEXT, "it returned a str"),
        ("tests.test_models:tinny", TEXT, "Did you mean tiny"),
        ("no_such_module:tiny", TEXT, "no module named no_such_module"),
    ],
)
def test_a_model_that_cannot_be_is_refused(name: str, spec: DataSpec, message: str) -> None:
    with pytest.raises(BadModel, match=message):
        build_model(name, spec, seed=0)


@pytest.mark.parametrize("model", [tiny, "tests.test_models:tiny"])
def test_a_users_model_is_built_from_the_seed(model: Any) -> None:
    built, again = (build_model(model, spec_of("other", 7), seed=3) for _ in range(2))
    assert torch.equal(built.get_parameter("weight"), again.get_parameter("weight"))


def test_a_torchvision_model_learns_nothing_from_being_tried() -> None:
    model = build_model("resnet18", images(3, 32, 32), seed=0)
    assert model.training
    assert model.get_buffer("bn1.num_batches_tracked") == 0


def test_the_loss_of_samples_is_the_mean_cross_entropy() -> None:
    loss = loss_function(images(1, 8, 8))(torch.zeros(3, 10), torch.tensor([1, 2, 3]))
    torch.testing.assert_close(loss, torch.tensor(10.0).log())


def test_right_answers_are_counted_by_sample_and_by_token() -> None:
    outputs = torch.eye(3)
    assert count_correct(outputs, torch.tensor([0, 1, 0])) == (2, 3)
    assert count_correct(outputs.expand(2, 3, 3), torch.tensor([[0, 1, 2], [1, 1, 1]])) == (4, 6)


def test_no_real_target_is_right() -> None:
    assert count_correct(torch.zeros(4, 1), torch.zeros(4)) == (0, 4)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Many threads on small batches wait for each other more than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.long
@pytest.mark.usefixtures("real_data", "one_thread")
def test_small_cnn_learns_fashion_mnist_in_one_epoch() -> None:
    sets = open_data("fashion_mnist", seed=0)
    model = build_model("small_cnn", sets.spec, seed=0)
    loss_of = loss_function(sets.spec)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    order = sets.train.order(seed=0, epoch=0).positions(0, len(sets.train))
    for start in range(0, len(order), 64):
        inputs, targets = sets.train.batch(order[start : start + 64])
        optimizer.zero_grad()
        loss_of(model(inputs), targets).backward()
        optimizer.step()
    with torch.inference_mode():
        inputs, targets = sets.test.batch(np.arange(10_000))
        right, total = count_correct(model(inputs), targets)
    assert right / total > 0.85


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine", r"a function too, as mine:build"),
        ("mine.py", r"a function too, as mine:build"),
        ("mine.py:build", r"without \.py\. Write mine:build"),
        ("./mine.py:build", r"without \.py\. Write mine:build"),
    ],
)
def test_a_model_of_ones_own_is_told_how_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    (tmp_path / "mine.py").write_text("def build(spec): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadModel, match=said):
        build_model(name, images(1, 8, 8), seed=0)
