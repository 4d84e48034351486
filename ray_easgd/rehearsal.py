"""One batch of two samples through a task of the user's own, before any process starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ray_easgd.data.named import name_of
from ray_easgd.data.user_sources import TensorSource
from ray_easgd.errors import BadData, BadInput, BadModel
from ray_easgd.random_state import give_random, take_random
from ray_easgd.task import OpenTask
from ray_easgd.users_code import blaming

_MOST_PARAMETERS = 50_000_000  # a pass through more takes the driver seconds
_IGNORED = -100  # the class number that cross entropy leaves out
_GPU_WORDS = ("CUDA", "cuda", "NVIDIA", "not implemented for", "triton", "Triton", "cpu tensor")
_PAIRS = "Return pairs of an input and a class number, a whole number from 0"


def rehearse(task: OpenTask, model: nn.Module, *, batch_size: int) -> None:
    """BadModel or BadData where model, data and loss do not go together; else nothing has changed.

    Ours are known to, so only what is the user's own is tried: on two samples, and, where that
    fails, on a whole batch, which it may be made for.
    """
    parameters = list(model.parameters())
    parts = (task.task.model, task.task.data, task.task.loss)
    if not any(map(_is_users, parts)) or any(map(is_lazy, parameters)):
        return
    if sum(p.numel() for p in parameters) > _MOST_PARAMETERS:
        return
    with _left_as_it_was(model):
        _refuse_impossible_classes(task)
        try:
            _pass_through(task, model, 2)
        except BadInput as error:
            needs_more = any(word in str(error.__cause__) for word in _GPU_WORDS)
            if not (needs_more or _passes(task, model, batch_size)):
                raise  # workers may have what this machine has not


def _passes(task: OpenTask, model: nn.Module, samples: int) -> bool:
    try:
        _pass_through(task, model, samples)
    except BadInput:
        return False
    return True


def _pass_through(task: OpenTask, model: nn.Module, samples: int) -> None:
    inputs, targets = _batch(task, samples)
    batch = f"a batch of inputs {_form(inputs)} and targets {_form(targets)}"
    remedy = f"Build it of the spec: {task.data.spec}."
    with blaming(BadModel, "model", _name(task.task.model), f"on {batch} it raised", remedy):
        outputs = model(inputs)
    if task.task.loss is None:
        _refuse_other_outputs(task, outputs, targets, batch)
    _try_loss(task, outputs, targets, batch)


def _batch(task: OpenTask, samples: int) -> tuple[Tensor, Tensor]:
    train = task.data.train
    with blaming(BadData, "data", _name(task.task.data), "reading samples raised", f"{_PAIRS}."):
        return train.batch(train.order(task.seed, 0).positions(0, min(samples, len(train))))


def _refuse_impossible_classes(task: OpenTask) -> None:
    source = getattr(task.data.train, "source", None)
    if task.task.loss is not None or not isinstance(source, TensorSource):
        return
    numbers = source.targets
    wrong = numbers[(numbers < 0) & (numbers != _IGNORED)]
    if not numbers.is_floating_point() and len(wrong):
        problem = f"it has the class number {int(wrong[0])}"
        raise BadData("data", _name(task.task.data), problem, f"{_PAIRS}.")


def _refuse_other_outputs(task: OpenTask, outputs: Any, targets: Tensor, batch: str) -> None:
    """What cross entropy cannot take, in words that tell which of the two is meant."""
    name = _name(task.task.model)
    if not isinstance(outputs, Tensor):
        problem = f"on {batch} it returned a {type(outputs).__name__}"
        raise BadModel("model", name, problem, "Return one tensor, or give Task(loss=...).")
    if targets.is_floating_point() and targets.shape != outputs.shape:  # those are probabilities
        problem = f"its targets are {_form(targets)}, and the loss is cross entropy"
        raise BadData("data", _name(task.task.data), problem, f"{_PAIRS}, or give Task(loss=...).")
    source = getattr(task.data.train, "source", None)
    if outputs.dim() == 2 and targets.dim() == 1 and isinstance(source, TensorSource):
        classes = int(source.targets.max()) + 1
        if outputs.shape[1] < classes:
            problem = f"on {batch} it returned {_form(outputs)}, and the data has {classes} classes"
            raise BadModel("model", name, problem, "Give spec.num_classes outputs.")


def _try_loss(task: OpenTask, outputs: Any, targets: Tensor, batch: str) -> None:
    loss, returned = task.task.loss, _form(outputs)
    field, value = ("model", _name(task.task.model)) if loss is None else ("loss", name_of(loss))
    remedy = "Let model, data and Task(loss=...) go together."
    doing = f"on {batch}, of which the model made {returned}, the loss raised"
    with blaming(BadModel, field, value, doing, remedy):
        found = task.loss(outputs, targets)
    if not isinstance(found, Tensor) or found.numel() != 1:
        problem = f"it returned {_form(found)}"
        raise BadModel(field, value, problem, "Return the mean loss of the batch, one number.")


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """A function of the user's may return one model to all who ask."""
    cpu = torch.device("cpu")
    random, buffers = take_random(cpu), {k: b.clone() for k, b in model.named_buffers()}
    try:
        yield
    finally:
        give_random(random, cpu)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers and buffers[name].shape == buffer.shape:
                    buffer.copy_(buffers[name])


def _is_users(part: object) -> bool:
    """A function, or the ``module:function`` of one."""
    if not isinstance(part, str):
        return part is not None
    return ":" in part and "://" not in part and not part.startswith("torchvision:")


def _name(part: Any) -> str:
    return part if isinstance(part, str) else name_of(part)


def _form(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
