"""Testing a model on a split of its task, as the evaluator does and the simulator."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ray_easgd.data.sets import Split
from ray_easgd.parameters import recompute_buffers
from ray_easgd.task import OpenTask

_BATCH = 256
_BUFFER_BATCHES = 16


@torch.inference_mode()
def evaluate(model: nn.Module, task: OpenTask, split: Split) -> tuple[float, float]:
    """(mean loss per sample, accuracy as a fraction) over one split; ``model`` in eval mode."""
    loss_sum, right, counted = 0.0, 0, 0
    for k in range(0, len(split), _BATCH):
        inputs, targets = split.batch(np.arange(k, min(k + _BATCH, len(split))))
        outputs = model(inputs)
        loss_sum += float(task.loss(outputs, targets)) * len(inputs)
        correct, total = task.correct(outputs, targets)
        right, counted = right + correct, counted + total
    return loss_sum / max(1, len(split)), right / max(1, counted)


def renew_buffers(model: nn.Module, task: OpenTask) -> None:
    """Recompute buffers such as BatchNorm's for the parameters the model holds now."""
    recompute_buffers(model, _training_inputs(task))


def _training_inputs(task: OpenTask) -> Iterator[Tensor]:
    train = task.data.train
    count = min(len(train), _BATCH * _BUFFER_BATCHES)
    positions = train.order(task.seed, 0).positions(0, count)
    for k in range(0, count, _BATCH):
        yield train.batch(positions[k : k + _BATCH])[0]
