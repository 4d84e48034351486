"""What the tests share: small models, and ports that need no cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ray_easgd.algorithms import Algorithm
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.hub import Hub, options_for
from ray_easgd.leases import LeaseBook
from ray_easgd.local import LocalLink
from ray_easgd.protocol import Interval
from ray_easgd.session import Session


@dataclass
class Recorder:
    """A reporter that keeps what it is told."""

    numbers: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.numbers.append((step, dict(values)))

    def event(self, kind: str, message: str, **details: object) -> None:
        self.events.append(kind)

    def report(self, values: Mapping[str, float], *, step: int) -> None:
        self.numbers.append((step, dict(values)))

    def stepped(self) -> None:
        pass


@dataclass
class BookLeases:
    """A lease source that asks the book directly."""

    total: int
    worker: str = "worker"
    book: LeaseBook | None = None

    def open(self, num_samples: int, batch_size: int, epochs: int) -> None:
        self.book = LeaseBook(num_samples=num_samples, batch_size=batch_size, total=self.total)

    def next(self) -> Interval | None:
        assert self.book is not None
        return self.book.lease(self.worker, backup=False)

    def backup(self) -> Interval | None:
        assert self.book is not None
        return self.book.lease(self.worker)

    def give_back(self, intervals: tuple[Interval, ...]) -> None:
        assert self.book is not None
        self.book.give_back(intervals)


class Points:
    """A map-style dataset: 64 points in 4 dimensions, in 3 classes."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.inputs = torch.randn(64, 4, generator=generator)
        self.targets = (self.inputs.sum(1) * 2).long().remainder(3)

    def __len__(self) -> int:
        return 64

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        return self.inputs[k], self.targets[k]


def descend(model: nn.Module, inputs: Tensor, targets: Tensor, *, lr: float = 0.02) -> None:
    """One gradient step of the thesis's own kind: it imports no optimizer."""
    nn.functional.cross_entropy(model(inputs), targets).backward()
    with torch.no_grad():
        for p in model.parameters():
            assert p.grad is not None
            p.sub_(lr * p.grad)
            p.grad = None


def small_model(seed: int = 3) -> nn.Module:
    """4 -> 8 -> 3; 67 parameters."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def make_hub(algorithm: Algorithm, **options: Any) -> Hub:
    """A hub for an algorithm, its ledger on."""
    return Hub(options_for(algorithm, ledger_seed=1, **options))


def make_session(
    algorithm: Algorithm, hub: Hub, *, period: int = 4, total: int = 256, **options: Any
) -> Session:
    """A session of one worker on a hub in this process."""
    return Session(
        name="worker",
        index=0,
        seed=7,
        options=ElasticOptions(algorithm=algorithm, period=period, ledger_seed=1, **options),
        links=[LocalLink(hub)],
        leases=BookLeases(total),
        reporter=Recorder(),
        batch_size=8,
    )
