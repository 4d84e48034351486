"""Ray Train's TorchTrainer with DistributedDataParallel over gloo. A program: ORDER_FILE.

Where workers are lost in a scene, or more come, the first of them reports its snapshots as
checkpoints, which all then go on from; elsewhere it reports nothing.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import ray
import torch
from ray._private.state import actors as actor_table  # the one that tells process ids
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from actors.peers.apart import start_apart
from ray_easgd.journal import Journal
from ray_easgd.peers.loop import Tie, begin, make_sgd, train
from ray_easgd.peers.record import Record
from ray_easgd.peers.workload import Order

RUN = "ray-train"
_FAILURES = 100
_STATE = "state.pt"


class Reporting(Tie):
    """Its report waits for all ranks, so all report at the same steps."""

    def __init__(self, wrapped: nn.Module, model: nn.Module, order: Order, record: Record) -> None:
        super().__init__(wrapped, make_sgd(order, model))
        self._model, self._record = model, record
        self._every = order.options["report_every"] if order.checkpoints else 0
        self._train, self._clock = import_module("ray.train"), record.clock

    def after_step(self, loss: Tensor) -> bool:
        self._clock += 1
        if not self._every or self._clock % self._every:
            return not self._every
        checkpoint = None
        if self._train.get_context().get_world_rank() == 0:
            path = Path(self._record.keep(self._model))
            folder = path.with_suffix("")
            folder.mkdir()
            torch.save({"clock": self._clock, "vector": np.load(path)}, folder / _STATE)
            checkpoint = self._train.Checkpoint.from_directory(str(folder))
        self._train.report({"clock": self._clock}, checkpoint=checkpoint)
        return False


def train_loop(config: dict[str, Any]) -> None:
    """What each worker runs."""
    order, ray_train = Order.read(config["order"]), import_module("ray.train")
    work, task = order.workload, order.workload.open()
    rank = ray_train.get_context().get_world_rank()
    model = begin(order, task)
    record = Record(order, rank)
    if rank == 0:
        _tell_of_the_controller(order)
    if (checkpoint := ray_train.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder, _STATE), weights_only=False)
        vector_to_parameters(torch.from_numpy(state["vector"]), model.parameters())
        record.clock = state["clock"]
    wrapped = import_module("ray.train.torch").prepare_model(model)
    train(
        work.batches(task.data.train, rank, order.num_workers, begin=record.clock),
        model=model,
        loss_of=task.loss,
        tie=Reporting(wrapped, model, order, record),
        record=record,
        pause_s=work.pause_s(rank),
    )
    if rank == 0:
        record.keep(model)
    record.close()


def _tell_of_the_controller(order: Order) -> None:
    """Which process sees to the workers."""
    for row in actor_table().values():
        if "TrainController" in row["ActorClassName"] and row["State"] == "ALIVE":
            journal = Journal(f"{order.folder}/journals", "coordinator")
            journal.write("coordinator", pid=row["Pid"])


def main() -> None:
    path = sys.argv[1]
    order, ray_train = Order.read(path), import_module("ray.train")
    torch_train = import_module("ray.train.torch")
    signal.signal(signal.SIGTERM, _as_interrupt)
    if order.hosts:
        start_apart(order, environment={})
    else:
        ray.init(address="local", num_cpus=order.num_workers, include_dashboard=False)
    Journal(f"{order.folder}/journals", "driver").write("driver")
    trainer = torch_train.TorchTrainer(
        train_loop,
        train_loop_config={"order": path},
        torch_config=torch_train.TorchConfig(backend="gloo"),
        scaling_config=ray_train.ScalingConfig(num_workers=order.num_workers),
        run_config=ray_train.RunConfig(
            name=RUN,
            storage_path=f"{order.folder}/ray-train",
            failure_config=ray_train.FailureConfig(max_failures=_FAILURES),
        ),
    )
    trainer.fit()


def _as_interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
