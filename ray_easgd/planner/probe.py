"""What a plan needs to know of a task, measured in seconds: step time, sizes, curvature."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import torch

from ray_easgd.loop import make_local_step, take_step
from ray_easgd.task import Task

if TYPE_CHECKING:
    from torch import Tensor

    from ray_easgd.config import Config
    from ray_easgd.task import OpenTask

_STEPS = 80
_WARM = 20  # of them not timed: the first ones compile and fault pages in
_SAMPLES = 512
_ITERATIONS = 12
_COPIES = 11


@dataclass(frozen=True, kw_only=True)
class Probe:
    """``step_s``: median seconds of a gradient step on one core; ``memcpy_s``: of a copy of the
    parameters; ``curvature``: the largest eigenvalue of the loss's Hessian, None if not asked for.
    """

    num_parameters: int
    step_s: float
    memcpy_s: float
    curvature: float | None


def probe(config: Config, *, curved: bool = True) -> Probe:
    """Take some steps of the task alone, and look at its loss where they lead.

    ``curved``: whether to ask for the curvature, too. That grows along training until the learning
    rate holds it: this is that of an early moment, on a batch of training samples. BadInput for a
    task that cannot be opened.
    """
    torch.set_num_threads(1)  # as workers do
    torch.manual_seed(config.seed)
    task = Task().open(config)
    model = task.build_model()
    parameters = [p for p in model.parameters() if p.requires_grad]
    step = make_local_step(parameters, config)
    order = task.data.train.order(config.seed, 0)
    size, seconds = config.batch_size, []
    model.train()
    for k in range(_STEPS):
        start = k * size % max(1, len(task.data.train) - size)
        began = time.perf_counter()
        inputs, targets = task.data.train.batch(order.positions(start, start + size))
        take_step(model, step, task.loss, inputs, targets)
        seconds.append(time.perf_counter() - began)
    num_parameters = sum(p.numel() for p in parameters)
    return Probe(
        num_parameters=num_parameters,
        step_s=median(seconds[_WARM:]),
        memcpy_s=_memcpy_s(num_parameters),
        curvature=_curvature_of(task, model, parameters) if curved else None,
    )


def largest_curvature(loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> float:
    """The Hessian's eigenvalue of largest magnitude, by power iteration on Hessian-vector
    products."""
    chance = torch.Generator().manual_seed(0)
    direction = [torch.randn(p.shape, generator=chance, dtype=p.dtype) for p in parameters]
    gradients = torch.autograd.grad(loss(), parameters, create_graph=True)
    found = 0.0
    for _ in range(_ITERATIONS):
        norm = torch.sqrt(sum((d.square().sum() for d in direction), torch.zeros(())))
        direction = [d / norm for d in direction]
        product = torch.autograd.grad(gradients, parameters, direction, retain_graph=True)
        found = float(sum((d * hd).sum() for d, hd in zip(direction, product, strict=True)))
        direction = [hd.detach() for hd in product]
        if not any(hd.any() for hd in direction):
            return 0.0
    return found


def _curvature_of(task: OpenTask, model: torch.nn.Module, parameters: Sequence[Tensor]) -> float:
    count = min(_SAMPLES, len(task.data.train))
    positions = task.data.train.order(0, 0).positions(0, count)
    inputs, targets = task.data.train.batch(positions)
    model.eval()  # the loss itself, without what dropout draws
    return largest_curvature(lambda: task.loss(model(inputs), targets), parameters)


def _memcpy_s(n: int) -> float:
    source, target = torch.ones(n), torch.empty(n)
    seconds = []
    for _ in range(_COPIES):
        began = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - began)
    return median(seconds[1:])
