"""A folder with ``train`` and ``test`` as Parquet or Arrow: decoded beforehand, or else streamed.

Two entries of the cache speak for a folder, so that a worker that finds them imports no pyarrow:
the *scan* (rows, classes, size of the first image) and the decoded *images*.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ray_easgd.data import cache
from ray_easgd.data.images import Pixels, open_images, save_facts, save_images
from ray_easgd.data.rows import Sources
from ray_easgd.data.scan import Files, Scan, load_scan, write_scan
from ray_easgd.data.sets import DataSpec
from ray_easgd.data.tables import ENDINGS
from ray_easgd.errors import BadData

if TYPE_CHECKING:
    from ray_easgd.data.decode import Mode
    from ray_easgd.data.table_images import TableImages


class _SizesDiffer(Exception):
    """The images cannot stand in one array."""


def open_folder(name: str, folder: Path, crop: int | None, cache_limit_bytes: int) -> Sources:
    """Open images from the cache where they are of one size and fit, and else from the files."""
    files = {split: _file(name, folder, split) for split in ("train", "test")}
    key = f"{folder.resolve().name}-{cache.fingerprint(files.values())}"
    scan = load_scan(cache.entry(f"{key}-scan", partial(write_scan, files)))
    if scan.decoded_bytes <= cache_limit_bytes:
        images = cache.entry(f"{key}-images", partial(_decode, files, scan))
        if (images / "facts.json").is_file():
            return open_images(name, images, crop)
    return _stream(files, scan, crop)


def _file(name: str, folder: Path, split: str) -> Path:
    files = [folder / f"{split}.{ending}" for ending in ENDINGS]
    if (found := next(filter(Path.is_file, files), None)) is not None:
        return found
    remedy = "Point data at a folder that holds train.parquet and test.parquet (or .arrow)."
    raise BadData("data", name, f"there is no {files[0].name} in {folder}", remedy)


def _stream(files: Files, scan: Scan, crop: int | None) -> Sources:
    from ray_easgd.data.streaming import CROP, StreamSource
    from ray_easgd.data.table_images import TableImages

    crop = crop or CROP
    return Sources(
        spec=DataSpec(kind="image", input_shape=(3, crop, crop), num_classes=scan.num_classes),
        train=StreamSource(images=TableImages(files["train"]), crop=crop),
        test=StreamSource(images=TableImages(files["test"]), crop=crop),
    )


def _decode(files: Files, scan: Scan, folder: Path) -> None:
    """Decode both splits, or leave ``folder`` empty: that says that the images' sizes differ."""
    from ray_easgd.data.table_images import TableImages

    try:
        for split, file in files.items():
            images = TableImages(file)
            shape = (len(images), *scan.first_shape)
            save_images(folder, split, shape, _decoded(images, scan), images.labels())
    except _SizesDiffer:
        for array in folder.iterdir():
            array.unlink()
    else:
        save_facts(folder, scan.num_classes)


def _decoded(images: TableImages, scan: Scan) -> Iterator[Pixels]:
    """Pixels of one row group after another, ``(rows, C, H, W)``."""
    from ray_easgd.data.decode import mode_of, open_image, pixels_of

    mode: Mode = "L" if scan.first_shape[0] == 1 else "RGB"
    for start, stop in pairwise(images.blocks):
        group = np.empty((stop - start, *scan.first_shape), np.uint8)
        for place, sample in enumerate(images.rows(np.arange(start, stop))):
            image = open_image(sample.encoded, sample.where)
            colour_is_lost = mode == "L" and mode_of(image, sample.where) == "RGB"
            if colour_is_lost or (image.height, image.width) != scan.first_shape[1:]:
                raise _SizesDiffer
            group[place] = pixels_of(image, mode)
        yield group
