"""Images too many, or too different in size, to be decoded beforehand: decoded each time."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ray_easgd.data.augment import center_crop, random_crop_and_flip, standardise
from ray_easgd.data.decode import open_image, pixels_of
from ray_easgd.data.sets import Positions
from ray_easgd.data.table_images import EncodedImage, TableImages

if TYPE_CHECKING:
    from ray_easgd.data.images import Pixels

CROP = 221
"""Side of the crop in pixels where the model asks for none (docs/mathematics.md, 5.3)."""
SHORTEST_SIDE = 256
"""Images are resized so that their shorter side has that many pixels."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class StreamSource:
    """RGB crops of a file's images: random and flipped in training, else the center."""

    images: TableImages
    crop: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def blocks(self) -> tuple[int, ...]:
        return self.images.blocks

    def read(self, rows: Positions, *, training: bool) -> tuple[Tensor, Tensor]:
        samples = self.images.rows(rows)
        decoded = _decoders().map(lambda sample: _resized(sample, self._side), samples)
        cropped = [self._cropped(torch.from_numpy(image), training) for image in decoded]
        pixels = standardise(
            torch.stack(cropped), torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        )
        return pixels, torch.tensor([sample.label for sample in samples])

    @property
    def _side(self) -> int:
        return max(SHORTEST_SIDE, self.crop)

    def _cropped(self, image: Tensor, training: bool) -> Tensor:
        # Here, in the caller's thread: the draws must come in the order of the samples.
        if training:
            return random_crop_and_flip(image[None], self.crop)[0]
        return center_crop(image, self.crop)


def _resized(sample: EncodedImage, side: int) -> Pixels:
    """``(3, H, W)`` with the shorter of H and W equal to ``side``."""
    from PIL.Image import Resampling

    image = open_image(sample.encoded, sample.where, shrink_to=side)
    scale = side / min(image.size)
    size = (max(side, round(image.width * scale)), max(side, round(image.height * scale)))
    pixels = pixels_of(image.convert("RGB").resize(size, Resampling.BILINEAR), "RGB")
    return np.ascontiguousarray(pixels)


@cache
def _decoders() -> ThreadPoolExecutor:
    """Pillow decodes and resizes without Python's lock, so threads share the work."""
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="decode")
