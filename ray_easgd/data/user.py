"""``module:function``: data that the user's own code returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from ray_easgd.data.named import load_function
from ray_easgd.data.rows import Sources
from ray_easgd.data.sets import DataSets, DataSpec, Positions
from ray_easgd.errors import BadData

FORMS = (
    "Return (train, test), each a pair of tensors (inputs, class numbers) or a map-style torch "
    "data set of such pairs; or return a ray_easgd.data.DataSets."
)


@dataclass(frozen=True)
class TensorSource:
    """Two tensors of equal length; uint8 inputs are read as [0, 1]."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def blocks(self) -> tuple[int, ...]:
        return (0, len(self))

    def read(self, rows: Positions, *, training: bool) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(np.ascontiguousarray(rows))
        return _float32(self.inputs[index]), self.targets[index].long()

    def num_classes(self) -> int | None:
        known = [self.targets, self.inputs] if _is_text(self.inputs[0]) else [self.targets]
        return None if self.targets.is_floating_point() else 1 + max(int(t.max()) for t in known)


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
        return _float32(inputs), targets.long()

    def num_classes(self) -> int | None:
        """From ``num_classes``, ``classes`` or ``targets``, the last two as in torchvision."""
        dataset: Any = self.dataset
        while isinstance(dataset, torch.utils.data.Subset):
            dataset = dataset.dataset
        if isinstance(getattr(dataset, "num_classes", None), int):
            return int(dataset.num_classes)
        if hasattr(dataset, "classes"):
            return len(dataset.classes)
        targets = getattr(dataset, "targets", None)
        return None if targets is None else 1 + int(np.asarray(targets).max())


def open_user(name: str) -> Sources | DataSets:
    """Call ``module:function`` without arguments and see what it returns."""
    returned = load_function(name, "data", BadData)()
    if isinstance(returned, DataSets):
        return returned
    if not isinstance(returned, Sequence) or len(returned) != 2:
        raise BadData("data", name, f"it returned {_describe(returned)}", FORMS)
    train, test = (_source(name, part) for part in returned)
    return Sources(spec=_spec(name, train, test), train=train, test=test)


def _source(name: str, part: Any) -> TensorSource | MapSource:
    if isinstance(part, TensorDataset):
        part = part.tensors
    if isinstance(part, Sequence) and len(part) == 2 and all(map(_is_array, part)):
        inputs, targets = (torch.as_tensor(array) for array in part)
        if len(inputs) != len(targets):
            problem = f"it returned {len(inputs)} inputs with {len(targets)} targets"
            raise BadData("data", name, problem, FORMS)
        return TensorSource(inputs, targets)
    if hasattr(part, "__getitem__") and hasattr(part, "__len__") and not isinstance(part, Sequence):
        return MapSource(part)
    raise BadData("data", name, f"it returned {_describe(part)} as a part", FORMS)


def _spec(name: str, *parts: TensorSource | MapSource) -> DataSpec:
    for part in parts:
        if len(part) == 0:
            raise BadData("data", name, "a part it returned is empty", FORMS)
    sample = _first_input(name, parts[0])
    counts = [part.num_classes() for part in parts]
    known = [count for count in counts if count is not None]
    if not known:
        remedy = "Give the data set an attribute num_classes, or return a DataSets."
        raise BadData("data", name, "the number of classes cannot be told", remedy)
    return DataSpec(kind=_kind(sample), input_shape=tuple(sample.shape), num_classes=max(known))


def _first_input(name: str, part: TensorSource | MapSource) -> Tensor:
    try:
        inputs, _ = part.read(np.array([0]), training=False)
    except (TypeError, ValueError, AttributeError) as error:
        problem = f"its first sample is not a pair of an array and a class number ({error})"
        raise BadData("data", name, problem, FORMS) from error
    return inputs[0]


def _kind(sample: Tensor) -> Literal["image", "text", "other"]:
    if _is_text(sample):
        return "text"
    return "image" if sample.dim() == 3 else "other"


def _is_text(sample: Tensor) -> bool:
    return sample.dim() == 1 and sample.dtype in {torch.int16, torch.int32, torch.int64}


def _float32(inputs: Tensor) -> Tensor:
    if inputs.dtype == torch.uint8:
        return inputs.float() / 255
    return inputs.float() if inputs.is_floating_point() else inputs


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _describe(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, Sequence) else ""
    return f"a {type(value).__name__}{size}"
