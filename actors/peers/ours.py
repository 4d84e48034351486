"""Our own methods as a contender: the loop of all, tied by ``session.elastic``.

A program: ORDER_FILE. Options: ``config``, keys of the configuration; ``step``, ``nesterov`` or
``sgd``, the built-in local steps. What is tested afterwards is the center, as its checkpoints
keep it.
"""

from __future__ import annotations

import signal
import sys
from typing import Any, NoReturn

from ray._private.state import actors as actor_table  # the one that tells process ids
from torch import Tensor, nn

from actors.cluster import OUR_CLUSTERS
from actors.peers.apart import start_apart
from actors.trainer import ElasticTrainer
from ray_easgd import session
from ray_easgd.algorithms.steps import LocalStep, Nesterov, Sgd
from ray_easgd.display import Progress, Silence
from ray_easgd.errors import EasgdError
from ray_easgd.journal import Journal
from ray_easgd.peers.loop import Tie, begin, train
from ray_easgd.peers.record import Record
from ray_easgd.peers.workload import Order

RUN = "ours"
_EPOCHS = 1_000_000  # more than there is time for: the run has a rule of its own to end


class Elastic(Tie):
    """Its weights are the worker's own; those that count are the center's."""

    def __init__(self, model: nn.Module, step: LocalStep) -> None:
        super().__init__(model)
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
            optimizer=step,
            loss_of=task.loss,
            tie=Elastic(model, step),
            record=record,
            pause_s=work.pause_s(rank),
        )
    finally:
        record.close()


def _local_step(order: Order, model: nn.Module) -> LocalStep:
    work, options = order.workload, order.options
    lr = options.get("lr", work.lr)
    if options["step"] == "nesterov":
        return Nesterov(model.parameters(), lr=lr, momentum=work.momentum)
    return Sgd(model.parameters(), lr=lr)


class Watch(Silence):
    """Writes down which process the center is."""

    def __init__(self, order: Order) -> None:
        self._folder, self._known = f"{order.folder}/journals", 0

    def update(self, progress: Progress) -> None:
        if progress.phase != "training":
            return
        for row in actor_table().values():
            is_center = row["Name"].startswith(f"{RUN}:center") and row["State"] == "ALIVE"
            if is_center and row["Pid"] != self._known:
                self._known = row["Pid"]
                Journal(self._folder, "coordinator").write("coordinator", pid=self._known)

    def event(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")


def main() -> None:
    path = sys.argv[1]
    order = Order.read(path)
    signal.signal(signal.SIGTERM, _as_interrupt)
    stop = {"samples": order.workload.samples} if order.workload.samples else {"seconds": 1e6}
    config: dict[str, Any] = {
        "seed": order.workload.seed,
        "batch_size": order.workload.batch_size,
        "fleet": {"workers": order.num_workers, "gpus_per_worker": 0},
        "stop": stop,
        "run": {
            "name": RUN,
            "storage": order.folder,
            "checkpoint_s": order.workload.snapshot_s,
            "keep": 100_000,
        },
        **order.options["config"],
    }
    if order.hosts:
        start_apart(order, environment=OUR_CLUSTERS)
    trainer = ElasticTrainer(train_loop, train_loop_config={"order": path}, config=config)
    trainer.fit(display=Watch(order), began_at=order.began_at)


def _as_interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        main()
    except EasgdError as error:
        sys.exit(str(error))
