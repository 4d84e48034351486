"""Images that are decoded each time they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ray_easgd.data import DataSets, open_data
from ray_easgd.data.streaming import IMAGENET_MEAN, IMAGENET_STD
from ray_easgd.errors import BadData
from ray_easgd.models import build_model, loss_function, preferred_crop
from tests.image_files import encode, png_folder, random_pixels, write_file, write_folder


def smooth(height: int, width: int, seed: int) -> Any:
    """A colour gradient: what JPEG keeps well."""
    corners = random_pixels(1, 2, 2, 3, seed=seed)[0].astype(float)
    down, across = np.linspace(0, 1, height), np.linspace(0, 1, width)
    rows = corners[0] + down[:, None, None] * (corners[1] - corners[0])
    start, stop = rows[:, 0], rows[:, 1]
    return (start[:, None] + across[:, None] * (stop - start)[:, None]).astype(np.uint8)


def jpegs(count: int, seed: int = 0) -> list[bytes]:
    sizes = np.random.default_rng(seed).integers(230, 400, (count, 2)).tolist()
    return [encode(smooth(h, w, seed + k), "JPEG") for k, (h, w) in enumerate(sizes)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageNet in small: 24 JPEGs of different sizes, 1,000 classes, row groups of 4."""
    path = tmp_path_factory.mktemp("imagenet")
    names = [f"n{k:08}" for k in range(1000)]
    write_file(path / "train.parquet", jpegs(24), np.arange(0, 960, 40).tolist(), names=names)
    write_file(path / "test.parquet", jpegs(3, seed=50), [1, 500, 999], names=names)
    return path


@pytest.fixture
def sets(folder: Path) -> DataSets:
    return open_data(str(folder), seed=0, crop=preferred_crop("imagenet_cnn"))


def test_images_of_different_sizes_become_crops_of_one_size(sets: DataSets) -> None:
    assert sets.spec.input_shape == (3, 221, 221)
    assert sets.spec.num_classes == 1000
    inputs, targets = sets.test.batch(np.array([2, 0]))
    assert inputs.shape == (2, 3, 221, 221)
    assert targets.tolist() == [999, 1]


def test_an_evaluated_image_is_the_center_of_the_resized_one(tmp_path: Path) -> None:
    image = np.zeros((512, 1024, 3), np.uint8)
    image[:, 512:] = 255  # black on the left, white on the right
    write_folder(tmp_path, [encode(image), encode(image[:-1])], [encode(image)])
    inputs, _ = open_data(str(tmp_path), seed=0, crop=100).test.batch(np.array([0]))
    mean, std = (torch.tensor(m)[:, None, None] for m in (IMAGENET_MEAN, IMAGENET_STD))
    crop = inputs[0] * std + mean
    torch.testing.assert_close(crop[:, :, :48], torch.zeros(3, 100, 48), atol=1e-6, rtol=0)
    torch.testing.assert_close(crop[:, :, 52:], torch.ones(3, 100, 48), atol=1e-6, rtol=0)


def test_a_jpeg_that_is_decoded_smaller_shows_the_same(tmp_path: Path) -> None:
    image = smooth(1100, 1600, seed=3)
    write_folder(tmp_path / "jpeg", [encode(image, "JPEG", quality=95)] * 2, [encode(image)])
    write_file(tmp_path / "jpeg/test.parquet", [encode(image, "JPEG", quality=95), encode(image)])
    sets = open_data(str(tmp_path / "jpeg"), seed=0, cache_limit_bytes=0)
    (from_jpeg, from_png), _ = sets.test.batch(np.array([0, 1]))
    assert (from_jpeg - from_png).abs().max() < 0.1


def test_only_training_crops_are_random(sets: DataSets) -> None:
    rows = np.arange(2)
    assert torch.equal(sets.test.batch(rows)[0], sets.test.batch(rows)[0])
    assert torch.equal(sets.validation.batch(rows)[0], sets.validation.batch(rows)[0])
    assert not torch.equal(sets.train.batch(rows)[0], sets.train.batch(rows)[0])


def test_the_seed_of_torch_decides_the_crops(sets: DataSets) -> None:
    with torch.random.fork_rng(devices=[]):
        batches = []
        for _ in range(2):
            torch.default_generator.manual_seed(4)
            batches.append(sets.train.batch(np.arange(6))[0])
    assert torch.equal(*batches)


def test_grey_and_four_channel_images_become_rgb(tmp_path: Path) -> None:
    grey, rgba = random_pixels(1, 40, 30)[0], random_pixels(1, 30, 40, 4)[0]
    write_folder(tmp_path, [encode(grey), encode(rgba)], [encode(grey), encode(rgba)])
    inputs, _ = open_data(str(tmp_path), seed=0).test.batch(np.arange(2))
    assert inputs.shape == (2, 3, 221, 221)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_images_beyond_the_cache_limit_are_streamed(tmp_path: Path, shape: Any) -> None:
    png_folder(tmp_path, *shape)
    size = 25 * int(np.prod(shape))
    within = open_data(str(tmp_path), seed=0, cache_limit_bytes=size)
    beyond = open_data(str(tmp_path), seed=0, cache_limit_bytes=size - 1)
    assert within.spec.input_shape[1:] == (8, 8)
    assert beyond.spec.input_shape == (3, 221, 221)


def test_the_cache_remembers_that_sizes_differ(folder: Path, sets: DataSets) -> None:
    again = open_data(str(folder), seed=0)
    assert again.spec == sets.spec


def test_an_epoch_in_order_reads_each_row_group_once(tmp_path: Path) -> None:
    tiny = [encode(p) for p in random_pixels(40, 4, 4)]
    write_file(tmp_path / "train.parquet", tiny, row_group=2)
    write_file(tmp_path / "test.parquet", tiny[:2])
    train = open_data(str(tmp_path), seed=0, crop=8, cache_limit_bytes=0).train
    order = train.order(seed=1, epoch=0)
    for start in range(0, len(train), 3):
        train.batch(order.positions(start, min(start + 3, len(train))))
    assert train.source.images.groups_read == 20  # type: ignore[attr-defined]


def test_an_image_that_is_broken_is_named_by_its_row(tmp_path: Path) -> None:
    good = encode(random_pixels(1, 20, 20)[0])
    write_folder(tmp_path, [good, good], [good, encode(random_pixels(1, 20, 30)[0])[:90]])
    sets = open_data(str(tmp_path), seed=0, cache_limit_bytes=0)
    with pytest.raises(BadData, match=r"test\.parquet row 1.*this is no image"):
        sets.test.batch(np.array([1]))


def test_the_imagenet_network_takes_two_steps(sets: DataSets) -> None:
    model = build_model("imagenet_cnn", sets.spec, seed=0)
    loss_of = loss_function(sets.spec)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = [p.detach().clone() for p in model.parameters()]
    order = sets.train.order(seed=0, epoch=0)
    for step in range(2):
        inputs, targets = sets.train.batch(order.positions(2 * step, 2 * step + 2))
        loss = loss_of(model(inputs), targets)
        assert torch.isfinite(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
