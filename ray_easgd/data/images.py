"""Decoded images in memory-mapped uint8 arrays: what a worker reads when they fit.

A folder of the cache holds ``{train,test}_images.npy`` of shape ``(n, C, H, W)``,
``{train,test}_labels.npy`` and ``facts.json``. Workers of one node share the pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ray_easgd.data.augment import center_crop, random_crop_and_flip, standardise
from ray_easgd.data.rows import Sources
from ray_easgd.data.sets import DataSpec, Positions
from ray_easgd.errors import BadData

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """Images of one size, standardised by the training set's channel mean and deviation."""

    images: Pixels
    labels: Labels
    mean: Tensor
    std: Tensor
    crop: int | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def blocks(self) -> tuple[int, ...]:
        return (0, len(self))

    def read(self, rows: Positions, *, training: bool) -> tuple[Tensor, Tensor]:
        pixels = torch.from_numpy(self.images[rows])
        if training and pixels.shape[1] == 3:  # a flipped or moved digit is another digit
            pixels = random_crop_and_flip(pixels, self.crop)
        elif self.crop:
            pixels = center_crop(pixels, self.crop)
        return standardise(pixels, self.mean, self.std), torch.from_numpy(self.labels[rows])


def save_images(
    folder: Path, split: str, shape: tuple[int, ...], parts: Iterable[Pixels], labels: Labels
) -> None:
    """Write one split, ``shape`` = ``(n, C, H, W)``, whose ``parts`` follow one another along n."""
    with (folder / f"{split}_images.npy").open("wb") as file:  # not a map: a full disk would kill
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part.tobytes())
    np.save(folder / f"{split}_labels.npy", labels)


def save_facts(folder: Path, num_classes: int) -> None:
    """Finish a folder whose splits are written: measure the training images."""
    mean, std = _channel_moments(_map(folder, "train_images"))
    facts = {"num_classes": num_classes, "mean": mean, "std": std}
    (folder / "facts.json").write_text(json.dumps(facts))


def open_images(name: str, folder: Path, crop: int | None) -> Sources:
    """Map a finished folder. ``crop`` is the side of the square a model wants, in pixels."""
    facts = json.loads((folder / "facts.json").read_text())
    channels, height, width = _map(folder, "train_images").shape[1:]
    if crop and crop > min(height, width):
        problem = f"its images are {height} x {width}, smaller than the {crop} x {crop} crop"
        raise BadData("data", name, problem, "Choose larger images, or a model such as small_cnn.")
    shape = (channels, crop or height, crop or width)
    return Sources(
        spec=DataSpec(kind="image", input_shape=shape, num_classes=facts["num_classes"]),
        train=_source(folder, "train", facts, crop),
        test=_source(folder, "test", facts, crop),
    )


def _source(folder: Path, split: str, facts: dict[str, Any], crop: int | None) -> ImageSource:
    return ImageSource(
        images=_map(folder, f"{split}_images"),
        labels=_map(folder, f"{split}_labels"),
        mean=torch.tensor(facts["mean"]),
        std=torch.tensor(facts["std"]),
        crop=crop,
    )


def _map(folder: Path, array: str) -> NDArray[Any]:
    return np.asarray(np.load(folder / f"{array}.npy", mmap_mode="r"))


def _channel_moments(images: Pixels) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel in [0, 1], in float64, some images at a time."""
    total = np.zeros((2, images.shape[1]))
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000].astype(np.float32) / 255
        total += [part.sum((0, 2, 3), np.float64), np.square(part).sum((0, 2, 3), np.float64)]
    mean, square = total / (len(images) * images.shape[2] * images.shape[3])
    std = np.sqrt(np.maximum(square - mean**2, 0))
    std[std < 1e-6] = 1.0  # a channel without contrast stays as it is
    return mean.tolist(), std.tolist()
