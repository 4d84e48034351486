"""Random crops and flips: of each image its own, and the seed decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ray_easgd.data import open_data
from ray_easgd.data.augment import PADDING, center_crop, random_crop_and_flip
from tests.image_files import png_folder


def pixels(count: int = 64, side: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def crops_of(image: Tensor, side: int) -> list[Tensor]:
    """Every crop of one image, and its mirror image."""
    windows = image.unfold(1, side, 1).unfold(2, side, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    return [*windows, *windows.flip(-1)]


@pytest.mark.parametrize("crop", [None, 5])
def test_each_image_becomes_a_crop_of_itself(crop: int | None) -> None:
    images = pixels(20)
    padded = images if crop else torch.nn.functional.pad(images, [PADDING] * 4)
    out = random_crop_and_flip(images, crop)
    assert out.dtype == torch.uint8
    for image, cropped in zip(padded, out, strict=True):
        assert any(torch.equal(cropped, other) for other in crops_of(image, crop or 8))


def test_images_of_one_batch_are_cropped_at_different_places() -> None:
    same = pixels(1).expand(64, -1, -1, -1).contiguous()
    assert len(random_crop_and_flip(same, None).flatten(1).unique(dim=0)) > 32


def test_about_half_of_the_images_are_flipped() -> None:
    images = pixels(400)
    out = random_crop_and_flip(images, 8)  # one crop is possible, so only flips remain
    flipped = (out != images).flatten(1).any(1)
    assert 150 < int(flipped.sum()) < 250
    assert torch.equal(out[flipped], images[flipped].flip(-1))


def test_the_draws_come_from_torchs_global_generator() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        first, second = (random_crop_and_flip(pixels(), None) for _ in range(2))
        torch.default_generator.manual_seed(1)
        again = random_crop_and_flip(pixels(), None)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_the_center_crop_is_the_middle() -> None:
    image = torch.arange(36).reshape(1, 6, 6)
    assert center_crop(image, 2).flatten().tolist() == [14, 15, 20, 21]


def test_only_the_training_split_is_augmented(tmp_path: Path) -> None:
    png_folder(tmp_path / "it", 8, 8, 3)
    sets = open_data(str(tmp_path / "it"), seed=0)
    everything = np.arange(18)
    assert not torch.equal(sets.train.batch(everything)[0], sets.train.batch(everything)[0])
    for split in (sets.validation, sets.test):
        rows = np.arange(len(split))
        assert torch.equal(split.batch(rows)[0], split.batch(rows)[0])
