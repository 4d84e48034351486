"""What a look at an image folder's labels and at its first image tells, before any is decoded."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ray_easgd.errors import BadData

if TYPE_CHECKING:
    from ray_easgd.data.table_images import TableImages

Files = dict[str, Path]
"""``train`` and ``test`` to their files."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    num_classes: int
    rows: int
    """Of both splits together."""
    first_shape: tuple[int, int, int]
    """``(C, H, W)`` of the first training image."""

    @property
    def decoded_bytes(self) -> int:
        """Size of all images in uint8, if they are all like the first."""
        return self.rows * math.prod(self.first_shape)


def load_scan(folder: Path) -> Scan:
    facts = json.loads((folder / "scan.json").read_text())
    return Scan(**facts | {"first_shape": tuple(facts["first_shape"])})


def write_scan(files: Files, folder: Path) -> None:
    """Scan the two files and write what they tell into ``folder``."""
    from ray_easgd.data.table_images import TableImages

    images = {split: TableImages(file) for split, file in files.items()}
    for file in images.values():
        if len(file) == 0:
            raise BadData("data", str(file.path), "it has no rows", "Write at least one image.")
    scan = Scan(
        num_classes=_count_classes(*images.values()),
        rows=sum(len(file) for file in images.values()),
        first_shape=_first_shape(images["train"]),
    )
    (folder / "scan.json").write_text(json.dumps(asdict(scan)))


def _first_shape(images: TableImages) -> tuple[int, int, int]:
    from ray_easgd.data.decode import mode_of, open_image

    first = images.rows(np.array([0]))[0]
    image = open_image(first.encoded, first.where)
    return (1 if mode_of(image, first.where) == "L" else 3, image.height, image.width)


def _count_classes(*files: TableImages) -> int:
    """The number of class names in the schema metadata, else one more than the largest label."""
    names = files[0].class_names()
    largest = {file.path: int(file.labels().max()) for file in files}
    for path, label in largest.items():
        if names and label >= len(names):
            problem = f"label {label} stands beyond the {len(names)} class names of its metadata"
            raise BadData("data", str(path), problem, "Correct the labels or the names.")
    return len(names) if names else 1 + max(largest.values())
