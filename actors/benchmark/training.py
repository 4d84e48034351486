"""A training loop of known size, and its speed with and without exchanges."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import torch
from torch import nn

from ray_easgd.algorithms.steps import Sgd
from ray_easgd.elastic import Elastic

_INPUTS, _CLASSES = 784, 10
_BATCHES = 4
_LR = 0.01
_FEWEST_PERIODS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two blocks of equally many steps, in seconds, and the exchanges of the first."""

    steps: int
    with_s: float
    without_s: float
    exchanges: int

    @property
    def ratio(self) -> float:
        """Step rate with exchanges over the one without."""
        return self.without_s / self.with_s


def build_mlp(num_parameters: int) -> nn.Module:
    """Two hidden layers, as wide as brings the count of parameters next to the one asked for.

    ``784 h + h + h h + h + 10 h + 10 = num_parameters`` solved for ``h``.
    """
    half = (_INPUTS + _CLASSES + 2) / 2
    width = max(1, round(math.sqrt(half * half + num_parameters - _CLASSES) - half))
    return nn.Sequential(
        nn.Linear(_INPUTS, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, _CLASSES),
    )


class Training:
    """Steps of the thesis's SGD on random data, shape (batch_size, 784), where the model is."""

    def __init__(self, model: nn.Module, batch_size: int) -> None:
        self._model, self._rule = model, Sgd(model.parameters(), lr=_LR)
        self._device = next(model.parameters()).device
        self._batches = cycle(
            [
                (
                    torch.randn(batch_size, _INPUTS, device=self._device),
                    torch.randint(_CLASSES, (batch_size,), device=self._device),
                )
                for _ in range(_BATCHES)
            ]
        )

    def step(self) -> torch.Tensor:
        """One gradient step; returns its loss."""
        inputs, labels = next(self._batches)
        self._rule.prepare()
        loss = nn.functional.cross_entropy(self._model(inputs), labels)
        loss.backward()
        self._rule.step()
        self._rule.zero_grad()
        return loss

    def wait(self) -> None:
        """Until the steps are done: a GPU does them later than they are asked for."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def compare(training: Training, tie: Elastic, *, num_pairs: int, block_s: float) -> Sequence[Pair]:
    """Blocks of steps with and without exchanges, alternating, in an order that alternates too.

    A block takes about ``block_s`` seconds, and at least four periods. Exchanges fall in the
    middle of their period's steps, so that what one leaves to the background is done while the
    same block goes on.
    """
    period = tie.options.period
    _block(training, tie, _FEWEST_PERIODS * period + period // 2)
    period_s = _block(training, None, _FEWEST_PERIODS * period) / _FEWEST_PERIODS
    steps = period * max(_FEWEST_PERIODS, math.ceil(block_s / period_s))
    pairs = []
    for number in range(num_pairs):
        before = tie.counts.exchanges
        took = {bool(t): _block(training, t, steps) for t in _order(number, tie)}
        pairs.append(
            Pair(
                steps=steps,
                with_s=took[True],
                without_s=took[False],
                exchanges=tie.counts.exchanges - before,
            )
        )
    return pairs


def _order(number: int, tie: Elastic) -> tuple[Elastic | None, Elastic | None]:
    return (tie, None) if number % 2 else (None, tie)


def _block(training: Training, tie: Elastic | None, steps: int) -> float:
    """Seconds for so many steps. Afterwards nothing is under way."""
    began = time.perf_counter()
    for _ in range(steps):
        _step(training, tie)
    training.wait()
    took = time.perf_counter() - began
    if tie is not None:
        tie.link.drain()
    return took


def _step(training: Training, tie: Elastic | None) -> None:
    loss = training.step()
    if tie is not None:
        tie.step(loss)
