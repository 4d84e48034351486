"""A real network on real data as a problem of the simulator: one model computes for all workers."""

from __future__ import annotations

import torch
from torch import Tensor

from ray_easgd.data.sets import Split
from ray_easgd.evaluate import evaluate, renew_buffers
from ray_easgd.parameters import ParameterVector
from ray_easgd.task import OpenTask


class TaskProblem:
    """Gradients of a task's loss on random batches.

    Samples are drawn with replacement by the worker's own generator: leases are not simulated.
    Augmentation and dropout draw from torch's global generator, so seed that for a run to repeat.
    """

    def __init__(self, task: OpenTask, batch_size: int) -> None:
        self._task, self._batch_size = task, batch_size
        self._model = task.build_model()
        self._vector = ParameterVector.bind(self._model)
        self._start = self._vector.flat.clone()
        self._gradient = torch.zeros_like(self._start)
        self._tie_gradients()

    def start(self) -> Tensor:
        return self._start.clone()

    def gradient(self, x: Tensor, noise: torch.Generator) -> Tensor:
        split = self._task.data.train
        positions = torch.randint(len(split), (self._batch_size,), generator=noise)
        inputs, targets = split.batch(positions.numpy())
        self._vector.load_(x)
        self._model.train()
        self._gradient.zero_()
        with torch.enable_grad():
            self._task.loss(self._model(inputs), targets).backward()
        return self._gradient.clone()

    def value(self, x: Tensor) -> dict[str, float]:
        """Loss and accuracy of ``x`` on the validation split."""
        loss, accuracy = self.test(x, self._task.data.validation)
        return {"val_loss": loss, "val_accuracy": accuracy}

    def test(self, x: Tensor, split: Split) -> tuple[float, float]:
        """(mean loss, accuracy) of ``x`` on a split."""
        self._vector.load_(x)
        self._model.eval()
        renew_buffers(self._model, self._task)
        return evaluate(self._model, self._task, split)

    def _tie_gradients(self) -> None:
        """Let autograd write every parameter's gradient into one vector."""
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        for slot, parameter in zip(self._vector.layout, parameters, strict=True):
            view = self._gradient[slot.offset : slot.offset + slot.size]
            parameter.grad = view.view(slot.shape)
