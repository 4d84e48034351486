"""The evaluator's process: tests the center on held-out data while the workers train on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import torch
from torch import nn

from actors.asking import Source
from actors.lifecycle import Named, actor_name, as_actor
from actors.placement import placed
from actors.process import settle_in
from ray_easgd.config import Config
from ray_easgd.evaluate import evaluate, renew_buffers
from ray_easgd.parameters import ParameterVector
from ray_easgd.protocol import Version
from ray_easgd.task import OpenTask, Task

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.hub_slice import Published


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


def whole(shards: Sequence[Published], sources: Sequence[Source]) -> np.ndarray:
    """The vector of shape (n,), its slices fetched and joined.

    ``sources``: where they come from, shard by shard; none where whoever waits for us has them.
    RayError once a slice cannot come any more.
    """
    if not sources:
        slices = ray.get([ref for _, refs in shards for ref in refs])
    else:
        whose = zip(sources, shards, strict=True)
        slices = [source.fetched(ref) for source, (_, refs) in whose for ref in refs]
    return slices[0] if len(slices) == 1 else np.concatenate(slices)


class Evaluator(Named):
    """The actor that holds a model of its own, loaded with one snapshot after another."""

    def __init__(self, task: Task, config: Config) -> None:
        settle_in()
        torch.manual_seed(config.seed)
        self._given = task, config
        self._sources: dict[Any, Source] = {}  # by the center's process, as each asks it to tell

    @cached_property
    def _opened(self) -> tuple[OpenTask, nn.Module, ParameterVector]:
        """By the thread that tests, to which a user's data may belong from then on."""
        task, config = self._given
        opened = task.open(config)
        model = opened.build_model()
        vector = ParameterVector.bind(model)
        model.eval()
        return opened, model, vector

    @ray.method
    def evaluate(
        self, shards: Sequence[Published], centers: Sequence[Any]
    ) -> tuple[Evaluation, dict[str, np.ndarray]]:
        """Test one snapshot of the center on the validation and the test set.

        Also gives what a checkpoint of it needs beside the vector. ``centers`` published it, shard
        by shard; where there is none, whoever asks has.
        """
        began = time.monotonic()
        self._sources = {c: self._sources.get(c) or Source(c) for c in centers}
        sources = tuple(self._sources.values())
        task, model, vector = self._opened
        vector.load_(torch.from_numpy(whole(shards, sources)))
        header = shards[0][0]
        renew_buffers(model, task)
        val_loss, val_accuracy = evaluate(model, task, task.data.validation)
        test_loss, test_accuracy = evaluate(model, task, task.data.test)
        evaluation = Evaluation(
            version=header.version,
            samples=sum(header.samples for header, _ in shards),
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            took_s=time.monotonic() - began,
        )
        return evaluation, self._beside_the_vector()

    @ray.method(concurrency_group="control")
    def ping(self) -> None:
        """Answers, also during a test."""

    def _beside_the_vector(self) -> dict[str, np.ndarray]:
        """Recomputed buffers and frozen parameters."""
        _, model, vector = self._opened
        held = {slot.name for slot in vector.layout}
        state = model.state_dict()
        tied = {v.data_ptr() for k, v in state.items() if k in held}
        return {
            k: v.numpy().copy()
            for k, v in state.items()
            if k not in held and v.data_ptr() not in tied
        }


def start_evaluator(run: str, task: Task, config: Config, *, life: int) -> ActorProxy[Evaluator]:
    """Start the evaluator's actor. It holds no state that the next ``life`` would miss.

    Ray does not restart it: while it does, it uses up a call's tries within moments.
    """
    return as_actor(
        Evaluator,
        name=actor_name(run, "evaluator", life),
        num_cpus=0,
        max_restarts=0,
        max_task_retries=0,
        concurrency_groups={"control": 1},
        **placed("evaluator"),
    ).remote(task, config)
