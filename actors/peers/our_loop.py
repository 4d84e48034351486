"""The loop of all contenders, tied by ``session.elastic``."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ray_easgd import session
from ray_easgd.algorithms.steps import LocalStep, Nesterov, Sgd
from ray_easgd.config import Config
from ray_easgd.peers.loop import Tie, begin, train
from ray_easgd.peers.record import Record
from ray_easgd.peers.workload import Order
from ray_easgd.planner.pace import pace
from ray_easgd.recipe import algorithm_of

_EPOCHS = 1_000_000  # more than there is time for: the run has a rule of its own to end


class Elastic(Tie):
    """Its weights are the worker's own; those that count are the center's."""

    def __init__(self, model: nn.Module, step: LocalStep) -> None:
        super().__init__(model, step)
        self._elastic, self._step = session.elastic(model, step), step

    def before_step(self) -> None:
        self._step.prepare()

    def after_step(self, loss: Tensor) -> bool:
        self._elastic.step(loss)
        return False


def train_loop(config: dict[str, Any]) -> None:
    """What each worker runs."""
    order = Order.read(config["order"])
    work, task = order.workload, order.workload.open()
    rank, model = session.current().index, begin(order, task)
    step = _local_step(order, model)
    record = Record(order, rank)
    try:
        train(
            session.data(task.data.train, batch_size=work.batch_size, epochs=_EPOCHS),
            model=model,
            loss_of=task.loss,
            tie=Elastic(model, step),
            record=record,
            pause_s=work.pause_s(rank),
        )
    finally:
        record.close()


def _local_step(order: Order, model: nn.Module) -> LocalStep:
    """At the rate of all, over the pace at it of those we begin with: a center takes no steps."""
    work, options, config = order.workload, order.options, Config.build(order.options["config"])
    own = pace(algorithm_of(config), order.num_workers, config.topology.levels) or 1.0
    lr = options.get("lr", work.lr / min(1.0, own))
    if options["step"] == "nesterov":
        return Nesterov(model.parameters(), lr=lr, momentum=work.momentum)
    return Sgd(model.parameters(), lr=lr)
