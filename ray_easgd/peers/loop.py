"""The training loop of all contenders. What one adds to it is its tie."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from ray_easgd.peers.record import Record
from ray_easgd.peers.workload import Order
from ray_easgd.task import Loss, OpenTask


class Optimizer(Protocol):
    """As torch's."""

    def step(self) -> Any: ...
    def zero_grad(self) -> Any: ...


class Tie:
    """What a peer adds to plain training; this one nothing.

    ``model`` is what batches go through, ``optimizer`` what takes the step.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer

    def before_step(self) -> None:
        """Ahead of the forward pass."""

    def after_step(self, loss: Tensor) -> bool:
        """Whether the weights are now those that the peer would ship."""
        return True


def train(
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    model: nn.Module,
    loss_of: Loss,
    tie: Tie,
    record: Record,
    pause_s: float = 0.0,
) -> None:
    """Gradient steps on those batches, written down. Snapshots of ``model`` are left by rank 0."""
    model.train()
    for inputs, targets in batches:
        if pause_s:
            time.sleep(pause_s)  # what a slower machine would take longer
        tie.before_step()
        loss = loss_of(tie.model(inputs), targets)
        tie.optimizer.zero_grad()
        loss.backward()
        tie.optimizer.step()
        is_settled = tie.after_step(loss)
        record.stepped(len(inputs))
        if is_settled and record.is_due():
            record.keep(model)


def begin(order: Order, task: OpenTask) -> nn.Module:
    """The model that everybody starts from, or goes on from."""
    torch.set_num_threads(1)
    model = task.build_model()
    if order.resume is not None:
        vector_to_parameters(torch.from_numpy(np.load(order.resume)), model.parameters())
    return model


def make_sgd(order: Order, model: nn.Module) -> torch.optim.SGD:
    """The local step of all peers: torch's own, with Nesterov's momentum."""
    work = order.workload
    lr, momentum = order.options.get("lr", work.lr), work.momentum
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, nesterov=momentum > 0)


def run(
    order: Order,
    rank: int,
    tie_to: Callable[[nn.Module, torch.optim.SGD], Tie],
    *,
    num_workers: int | None = None,
) -> None:
    """One worker of a peer whose processes are started one by one."""
    work, task = order.workload, order.workload.open()
    model = begin(order, task)
    record = Record(order, rank)
    tie = tie_to(model, make_sgd(order, model))
    train(
        work.batches(
            task.data.train, rank, num_workers or order.num_workers, begin=order.resume_step
        ),
        model=model,
        loss_of=task.loss,
        tie=tie,
        record=record,
        pause_s=work.pause_s(rank),
    )
    if rank == 0:
        record.keep(model)
    record.close()


def arguments() -> tuple[Order, int]:
    """Of a program: ORDER_FILE RANK."""
    return Order.read(sys.argv[1]), int(sys.argv[2])
