"""Files of images in Hugging Face's convention: ``image`` struct<bytes, path>, ``label``."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ray_easgd.data.images import Labels
from ray_easgd.data.order import BLOCKS_TOGETHER
from ray_easgd.data.sets import Positions
from ray_easgd.data.tables import TableFile, open_table
from ray_easgd.errors import BadData

EXPECTED = "image: struct<bytes: binary, path: string>, label: int64"


class EncodedImage(NamedTuple):
    encoded: bytes | None
    label: int
    where: str
    """File and row, for messages."""


class TableImages:
    """One Parquet or Arrow file, read by rows; its last few groups of rows stay in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        self.blocks: tuple[int, ...] = (0, *np.cumsum(self._file.sizes, dtype=np.int64).tolist())
        # Two sets of blocks that are shuffled together, as a batch may straddle them.
        self._group = lru_cache(maxsize=2 * BLOCKS_TOGETHER)(self._read_group)

    def __len__(self) -> int:
        return self.blocks[-1]

    def rows(self, rows: Positions) -> list[EncodedImage]:
        groups = np.searchsorted(self.blocks, rows, side="right") - 1
        return [self._row(g, r) for g, r in zip(groups.tolist(), rows.tolist(), strict=True)]

    @property
    def groups_read(self) -> int:
        """How often a row group was read from the file; the rest came from memory."""
        return self._group.cache_info().misses

    def _row(self, group: int, row: int) -> EncodedImage:
        encoded, labels = self._group(group)
        place = row - self.blocks[group]
        return EncodedImage(encoded[place].as_py(), int(labels[place]), f"{self.path} row {row}")

    def _read_group(self, group: int) -> tuple[Any, Labels]:
        table = _read(self.path, lambda: self._file.group(group, ["image", "label"]))
        image = table["image"].combine_chunks()
        return image.field("bytes"), table["label"].to_numpy().astype(np.int64)

    def labels(self) -> Labels:
        """All labels, without reading an image."""
        column = _read(self.path, lambda: self._file.columns(["label"]))["label"]
        labels = column.to_numpy()
        if column.null_count or labels.min(initial=0) < 0:
            problem = f"{self.path} has labels that are missing or negative"
            raise BadData("data", str(self.path), problem, "Number the classes from 0.")
        return np.asarray(labels, dtype=np.int64)

    def class_names(self) -> list[str] | None:
        """The names that the schema metadata declares for ``label``, if it does."""
        metadata = (self._file.schema.metadata or {}).get(b"huggingface", b"{}")
        try:
            return [
                str(name) for name in json.loads(metadata)["info"]["features"]["label"]["names"]
            ]
        except (TypeError, KeyError, ValueError):  # absent, or it declares no class names
            return None


def _open(path: Path) -> TableFile:
    file: TableFile = _read(path, lambda: open_table(path))
    schema = file.schema
    if not _has_expected_columns(schema):
        found = ", ".join(f"{field.name}: {field.type}" for field in schema)
        problem = f"its columns are {found or 'none'}; expected {EXPECTED}"
        raise BadData("data", str(path), problem, "Write it as a Hugging Face data set of images.")
    return file


def _has_expected_columns(schema: Any) -> bool:
    from pyarrow import types

    if not {"image", "label"} <= set(schema.names):
        return False
    image = schema.field("image").type
    if not types.is_struct(image) or image.get_field_index("bytes") < 0:
        return False
    content = image.field("bytes").type
    is_binary = types.is_binary(content) or types.is_large_binary(content)
    return bool(is_binary and types.is_integer(schema.field("label").type))


def _read(path: Path, read: Callable[[], Any]) -> Any:
    import pyarrow

    try:
        return read()
    except (OSError, pyarrow.ArrowException) as error:
        problem = f"it cannot be read: {error}"
        raise BadData("data", str(path), problem, "Write or copy it again.") from error
