"""``module:function``: data that the user's own code returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from ray_easgd.data.named import load_function, name_of
from ray_easgd.data.rows import Sources
from ray_easgd.data.sets import DataSets, DataSpec
from ray_easgd.data.user_sources import MapSource, TensorSource, is_text
from ray_easgd.errors import BadData
from ray_easgd.users_code import blaming

FORMS = (
    "Return (train, test), each a pair of tensors (inputs, class numbers) or a map-style torch "
    "data set of such pairs; or return a ray_easgd.data.DataSets."
)


def open_user(data: str | Callable[[], Any]) -> Sources | DataSets:
    """Call a function, or ``module:function``, without arguments and see what it returns.

    Every process calls it for itself, so it must return the same samples in the same order.
    """
    name = data if isinstance(data, str) else name_of(data)
    load = load_function(data, "data", BadData) if isinstance(data, str) else data
    with blaming(BadData, "data", name, "it raised", FORMS):
        returned = load()
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
    num_classes = max(part.num_classes() for part in parts)
    return DataSpec(kind=_kind(sample), input_shape=tuple(sample.shape), num_classes=num_classes)


def _first_input(name: str, part: TensorSource | MapSource) -> Tensor:
    try:
        inputs, _ = part.read(np.array([0]), training=False)
    except (TypeError, ValueError, AttributeError) as error:
        problem = f"its first sample is not a pair of an array and a class number ({error})"
        raise BadData("data", name, problem, FORMS) from error
    return inputs[0]


def _kind(sample: Tensor) -> Literal["image", "text", "other"]:
    if is_text(sample):
        return "text"
    return "image" if sample.dim() == 3 else "other"


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _describe(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, Sequence) else ""
    return f"a {type(value).__name__}{size}"
