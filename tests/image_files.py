"""Small image Parquet files, made up for the tests of data and models."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def encode(pixels: Any, file_format: str = "PNG", **options: Any) -> bytes:
    """uint8 pixels ``(H, W)`` or ``(H, W, 3)`` as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def random_pixels(count: int, *shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_file(
    path: Path,
    images: Sequence[bytes | None],
    labels: Sequence[int | None] | None = None,
    *,
    names: Sequence[str] | None = None,
    row_group: int = 4,
) -> None:
    """Write encoded images; labels are 0, 1, 2, 0, ... unless given."""
    structs = [{"bytes": image, "path": None} for image in images]
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels = [row % 3 for row in range(len(images))] if labels is None else labels
    table = pa.table(
        {"image": pa.array(structs, image_type), "label": pa.array(labels, pa.int64())}
    )
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group)


def write_folder(folder: Path, train: Sequence[bytes], test: Sequence[bytes]) -> Path:
    write_file(folder / "train.parquet", train)
    write_file(folder / "test.parquet", test)
    return folder


def png_folder(folder: Path, *shape: int, count: int = 20) -> tuple[Any, Any]:
    """Write a folder of random PNG images of one shape; returns training and test pixels."""
    train, test = random_pixels(count, *shape), random_pixels(5, *shape, seed=1)
    write_folder(folder, [encode(p) for p in train], [encode(p) for p in test])
    return train, test
