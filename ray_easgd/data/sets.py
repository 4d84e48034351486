"""What a data set is to a worker: a spec and three splits, each read by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Positions = NDArray[np.int64]
"""Indices into a split (or rows of a file), shape ``(count,)``."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """What a model must know of the data to fit it."""

    kind: Literal["image", "text", "other"]
    input_shape: tuple[int, ...]
    """One sample as the model sees it: ``(C, H, W)`` for images, ``(block,)`` for text."""
    num_classes: int
    """Classes; for text, the size of the vocabulary; for real targets, numbers in one target.

    0 where the user's own data does not tell.
    """


class Order(Protocol):
    """A seeded permutation of one epoch of a split."""

    def positions(self, start: int, stop: int) -> Positions:
        """The positions that stand at ``start`` to ``stop - 1`` in this epoch."""
        ...


class Split(Protocol):
    """Samples that a worker reads by position, in any order and as often as it likes."""

    def __len__(self) -> int: ...

    def batch(self, positions: Positions) -> tuple[Tensor, Tensor]:
        """Inputs ``(B, *input_shape)`` and targets at ``positions``, on the CPU.

        A training split augments, drawing from torch's global generator.
        """
        ...

    def order(self, seed: int, epoch: int) -> Order:
        """The order of an epoch: the same in every process for the same seed and epoch."""
        ...


@dataclass(frozen=True, kw_only=True)
class DataSets:
    """A data set in three disjoint parts."""

    spec: DataSpec
    train: Split
    """Nine tenths of the training set; augmented."""
    validation: Split
    """A seeded tenth of the training set; never augmented."""
    test: Split
