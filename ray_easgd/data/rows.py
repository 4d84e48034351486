"""Splits as rows of a source: the source knows how to read, the split knows which rows are its."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from torch import Tensor

from ray_easgd.data.order import BlockOrder, hold_out
from ray_easgd.data.sets import DataSets, DataSpec, Positions
from ray_easgd.errors import BadData


class Source(Protocol):
    """Rows as they lie in a file, a memory map or the user's own data set."""

    def __len__(self) -> int: ...

    @property
    def blocks(self) -> tuple[int, ...]:
        """Offsets at which blocks begin, and the end: ``(0, n)`` where any row is quick to read."""
        ...

    def read(self, rows: Positions, *, training: bool) -> tuple[Tensor, Tensor]:
        """Inputs and targets of ``rows``; ``training`` asks for augmentation."""
        ...


@dataclass(frozen=True)
class RowSplit:
    """The split of a source that consists of ``rows`` (ascending)."""

    source: Source
    rows: Positions
    training: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, positions: Positions) -> tuple[Tensor, Tensor]:
        return self.source.read(self.rows[positions], training=self.training)

    def order(self, seed: int, epoch: int) -> BlockOrder:
        return BlockOrder(self._bounds, seed, epoch)

    @cached_property
    def _bounds(self) -> tuple[int, ...]:
        return tuple(np.searchsorted(self.rows, self.source.blocks).tolist())


@dataclass(frozen=True, kw_only=True)
class Sources:
    """A training set and a test set, before a tenth is held out."""

    spec: DataSpec
    train: Source
    test: Source

    def split(self, name: str, seed: int) -> DataSets:
        """Hold out a seeded tenth of the training rows for validation."""
        if len(self.train) < 2 or len(self.test) < 1:
            counts = f"it has {len(self.train)} training and {len(self.test)} test samples"
            raise BadData("data", name, counts, "Give at least two to train on and one to test.")
        train, validation = hold_out(len(self.train), seed)
        return DataSets(
            spec=self.spec,
            train=RowSplit(self.train, train, training=True),
            validation=RowSplit(self.train, validation),
            test=RowSplit(self.test, np.arange(len(self.test))),
        )
