"""Ray Data behind leases: a dataset's blocks as a map-style dataset that every worker can read.

The driver executes it once. Workers fetch blocks from the object store as they need them, so that
none has to hold all of it, and nobody waits for another as `streaming_split` would have it. Who
needs a block of a node that hangs waits until Ray has given that node up; the others train on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import ObjectLostError
from torch import Tensor

from ray_easgd.data.order import BLOCKS_TOGETHER, BlockOrder
from ray_easgd.data.sets import Positions
from ray_easgd.errors import BadData

_KEPT = 2 * BLOCKS_TOGETHER  # a lease may end in the next four

Columns = Mapping[str, np.ndarray]


@dataclass
class RayRows:
    """The rows of a Ray dataset: ``blocks`` are references to its columns, ``bounds`` the offsets
    at which blocks begin, and the end.

    ``batch`` gives a dictionary: a tensor for each column of numbers, an array for others. An
    epoch's order keeps reads together, four blocks at a time.
    """

    name: str
    blocks: list[Any]
    bounds: tuple[int, ...]
    _kept: OrderedDict[int, Columns] = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        return self.bounds[-1]

    def order(self, seed: int, epoch: int) -> BlockOrder:
        return BlockOrder(self.bounds, seed, epoch)

    def batch(self, positions: Positions) -> dict[str, Any]:
        """The rows at ``positions``, in that order."""
        block_of = np.searchsorted(self.bounds, positions, side="right") - 1
        parts, places = [], []
        for k in np.unique(block_of):
            here = np.flatnonzero(block_of == k)
            rows = positions[here] - self.bounds[k]
            parts.append({name: column[rows] for name, column in self._block(int(k)).items()})
            places.append(here)
        back = np.argsort(np.concatenate(places))
        joined = {name: np.concatenate([p[name] for p in parts])[back] for name in parts[0]}
        return {name: _as_tensor(column) for name, column in joined.items()}

    def _block(self, k: int) -> Columns:
        if k not in self._kept:
            try:
                self._kept[k] = ray.get(self.blocks[k])
            except ObjectLostError as error:
                raise BadData(
                    f"datasets.{self.name}",
                    f"block {k}",
                    f"it is lost, and Ray cannot make it again: {error}",
                    "Read the dataset from files, so that Ray can.",
                ) from error
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(k)
        return self._kept[k]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}


def opened(datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Ray datasets executed, and made readable by workers; others as they are."""
    return {name: _opened(name, dataset) for name, dataset in datasets.items()}


def _opened(name: str, dataset: Any) -> Any:
    if not hasattr(dataset, "to_numpy_refs"):
        return dataset
    blocks = dataset.to_numpy_refs()
    counted = ray.get([_count.remote(block) for block in blocks])
    filled = [(block, count) for block, count in zip(blocks, counted, strict=True) if count]
    if not filled:
        raise BadData(f"datasets.{name}", "a Ray dataset", "it has no rows", "Give one that has.")
    bounds = (0, *accumulate(count for _, count in filled))
    return RayRows(name, [block for block, _ in filled], bounds)


@ray.remote(num_cpus=0)
def _count(columns: Columns) -> int:
    return len(next(iter(columns.values()), ()))


def _as_tensor(column: np.ndarray) -> Tensor | np.ndarray:
    return torch.from_numpy(column) if column.dtype.kind in "biuf" else column
