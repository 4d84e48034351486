"""The parameter vector: one contiguous float32 tensor that a model's parameters are views into.

What is held and what is not, by name:

- tied parameters appear once; frozen ones (``requires_grad=False``) stay outside, as they were;
- parameters must be dense float32 on one device: mixed precision is ``torch.autocast`` over
  float32 weights (AMP), and a ``GradScaler`` works unchanged;
- gradient accumulation and ``torch.compile`` (before or after) change nothing: the parameter
  objects stay the same, only their storage moves;
- buffers (BatchNorm's running statistics) stay with each worker. An averaged center has none of
  its own, so whoever evaluates it recomputes them from training batches
  (``recompute_buffers``), as stochastic weight averaging does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ray_easgd.errors import BadModel


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one parameter lies in the vector: elements ``offset <= k < offset + size``."""

    name: str
    shape: tuple[int, ...]
    offset: int
    size: int


class ParameterVector:
    """A model's trainable parameters as one tensor ``flat`` of shape (n,), and their layout."""

    def __init__(self, flat: Tensor, layout: tuple[Slot, ...]) -> None:
        self.flat = flat
        self.layout = layout

    @classmethod
    def bind(cls, model: nn.Module) -> ParameterVector:
        """Move a model's trainable parameters into one vector; the model keeps working.

        Raises BadModel, naming the parameter, for what the vector cannot hold.
        """
        parameters = [(_clean(k), p) for k, p in model.named_parameters() if p.requires_grad]
        if not parameters:
            problem = "it has no trainable parameter"
            raise BadModel("model", type(model).__name__, problem, "Unfreeze a layer.")
        _check(parameters)
        layout = _lay_out((k, tuple(p.shape)) for k, p in parameters)
        flat = torch.cat([p.detach().reshape(-1) for _, p in parameters])
        for slot, (_, parameter) in zip(layout, parameters, strict=True):
            parameter.data = _view(flat, slot)
        return cls(flat, layout)

    def load_(self, vector: Tensor) -> None:
        """Copy a vector of shape (n,) in; the model's parameters follow, being views."""
        self.flat.copy_(vector)

    def tensors(self) -> dict[str, Tensor]:
        """The parameters by name, as views."""
        return {slot.name: _view(self.flat, slot) for slot in self.layout}


def _lay_out(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> tuple[Slot, ...]:
    slots, offset = [], 0
    for name, shape in shapes:
        size = torch.Size(shape).numel()
        slots.append(Slot(name, shape, offset, size))
        offset += size
    return tuple(slots)


def _view(flat: Tensor, slot: Slot) -> Tensor:
    return flat[slot.offset : slot.offset + slot.size].view(slot.shape)


def _clean(name: str) -> str:
    """torch.compile wraps a model in ``_orig_mod``; a checkpoint should not know."""
    return name.replace("_orig_mod.", "")


def _check(parameters: list[tuple[str, nn.Parameter]]) -> None:
    device = parameters[0][1].device
    for name, parameter in parameters:
        if problem := _problem(parameter, device):
            raise BadModel(f"model.{name}", str(parameter.dtype), *problem)


def _problem(parameter: nn.Parameter, device: torch.device) -> tuple[str, str] | None:
    if nn.parameter.is_lazy(parameter):
        return "it has no shape yet", "Run one batch through the model first."
    if type(parameter.data) is not Tensor or parameter.layout is not torch.strided:
        return "it is not a dense tensor", "Sharded (FSDP) and sparse weights are not supported."
    if parameter.dtype is not torch.float32:
        return (
            "the parameter vector is float32",
            "Keep the weights in float32 and compute under torch.autocast, or freeze it.",
        )
    if parameter.device != device:
        return f"it is on {parameter.device}, others on {device}", "Move the model to one device."
    return None


def recompute_buffers(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Recompute BatchNorm's running statistics as the mean over ``batches`` of inputs.

    For a model whose parameters were averaged: its own statistics belong to other parameters.
    A model without BatchNorm is left alone, and ``batches`` is not read.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
    norms = [m for m in norms if m.track_running_stats]
    if not norms:
        return
    momenta, was_training = [m.momentum for m in norms], model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None means a plain mean over all batches
    model.train()
    with torch.no_grad():
        for inputs in batches:
            model(inputs)
    model.train(was_training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
