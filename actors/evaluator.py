"""The evaluator's process: tests the center on held-out data while the workers train on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import ray
import torch
from torch import Tensor

from actors.lifecycle import as_actor
from actors.process import settle_in
from ray_easgd.config import Config
from ray_easgd.data import Split
from ray_easgd.parameters import ParameterVector, recompute_buffers
from ray_easgd.protocol import Version
from ray_easgd.task import Task

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.center import Published

_BATCH = 256
_BUFFER_BATCHES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The center at one version, tested. Accuracies are fractions, losses means per sample."""

    version: Version
    samples: int
    val_loss: float
    val_accuracy: float
    test_loss: float
    test_accuracy: float
    took_s: float


class Evaluator:
    """The actor that holds a model of its own, loaded with one snapshot after another."""

    def __init__(self, task: Task, config: Config) -> None:
        settle_in()
        torch.manual_seed(config.seed)
        self._task = task.open(config)
        self._model = self._task.build_model()
        self._vector = ParameterVector.bind(self._model)
        self._model.eval()

    @ray.method
    def evaluate(self, published: Published) -> tuple[Evaluation, dict[str, np.ndarray]]:
        """Test one snapshot of the center on the validation and the test set.

        Also gives what a checkpoint of it needs beside the vector.
        """
        began = time.monotonic()
        header, (ref,) = published
        self._vector.load_(torch.from_numpy(ray.get(ref)))
        recompute_buffers(self._model, self._training_inputs())
        val_loss, val_accuracy = self._test(self._task.data.validation)
        test_loss, test_accuracy = self._test(self._task.data.test)
        evaluation = Evaluation(
            version=header.version,
            samples=header.samples,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            took_s=time.monotonic() - began,
        )
        return evaluation, self._beside_the_vector()

    def _beside_the_vector(self) -> dict[str, np.ndarray]:
        """Recomputed buffers and frozen parameters."""
        held = {slot.name for slot in self._vector.layout}
        state = self._model.state_dict()
        tied = {v.data_ptr() for k, v in state.items() if k in held}
        return {
            k: v.numpy().copy()
            for k, v in state.items()
            if k not in held and v.data_ptr() not in tied
        }

    def _training_inputs(self) -> Iterator[Tensor]:
        train = self._task.data.train
        count = min(len(train), _BATCH * _BUFFER_BATCHES)
        positions = train.order(self._task.seed, 0).positions(0, count)
        for k in range(0, count, _BATCH):
            yield train.batch(positions[k : k + _BATCH])[0]

    @torch.inference_mode()
    def _test(self, split: Split) -> tuple[float, float]:
        """(mean loss, accuracy) of the model over one split."""
        loss_sum, right, counted = 0.0, 0, 0
        for k in range(0, len(split), _BATCH):
            inputs, targets = split.batch(np.arange(k, min(k + _BATCH, len(split))))
            outputs = self._model(inputs)
            loss_sum += float(self._task.loss(outputs, targets)) * len(inputs)
            correct, total = self._task.correct(outputs, targets)
            right, counted = right + correct, counted + total
        return loss_sum / max(1, len(split)), right / max(1, counted)


def start_evaluator(run: str, task: Task, config: Config) -> ActorProxy[Evaluator]:
    """Start the evaluator's actor. It holds no state that a fresh start would miss."""
    return as_actor(
        Evaluator,
        name=f"{run}:evaluator",
        num_cpus=0,
        max_restarts=2,
        max_task_retries=2,
    ).remote(task, config)
