"""The user's own data as sources: two tensors, or a map-style torch data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset, default_collate

from ray_easgd.data.sets import Positions


@dataclass(frozen=True)
class TensorSource:
    """Two tensors of equal length."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def blocks(self) -> tuple[int, ...]:
        return (0, len(self))

    def read(self, rows: Positions, *, training: bool) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(np.ascontiguousarray(rows))
        return _inputs(self.inputs[index]), _targets(self.targets[index])

    def num_classes(self) -> int:
        if self.targets.is_floating_point():
            return self.targets[0].numel()
        known = [self.targets, self.inputs] if is_text(self.inputs[0]) else [self.targets]
        return 1 + max(int(tensor.max()) for tensor in known)


@dataclass(frozen=True)
class MapSource:
    """A map-style torch data set of (input, target) pairs; it transforms as it likes itself."""

    dataset: Any

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def blocks(self) -> tuple[int, ...]:
        return (0, len(self))

    def read(self, rows: Positions, *, training: bool) -> tuple[Tensor, Tensor]:
        inputs, targets = default_collate([self.dataset[row] for row in rows.tolist()])
        return _inputs(inputs), _targets(targets)

    def num_classes(self) -> int:
        """From ``num_classes``, ``classes`` or ``targets``, the last two as in torchvision.

        0 where it has none of these: to read every sample for its target may take long.
        """
        dataset = _underlying(self.dataset)
        if isinstance(getattr(dataset, "num_classes", None), int):
            return int(dataset.num_classes)
        if hasattr(dataset, "classes"):
            return len(dataset.classes)
        targets = getattr(dataset, "targets", None)
        return 0 if targets is None else 1 + int(np.asarray(targets).max())


def _underlying(dataset: Any) -> Any:
    return _underlying(dataset.dataset) if isinstance(dataset, Subset) else dataset


def is_text(sample: Tensor) -> bool:
    """Whether one input is a row of tokens."""
    return sample.dim() == 1 and sample.dtype in {torch.int16, torch.int32, torch.int64}


def _inputs(inputs: Tensor) -> Tensor:
    """Real numbers as float32 and uint8 pixels as [0, 1]; tokens as they are."""
    if inputs.dtype == torch.uint8:
        return inputs.float() / 255
    return inputs.float() if inputs.is_floating_point() else inputs


def _targets(targets: Tensor) -> Tensor:
    return targets.float() if targets.is_floating_point() else targets.long()
