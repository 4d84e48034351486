"""One run of the study: a fleet that trains a real network in virtual time, looked at on the way.

Each run's result is a file of its own in the figures' folder, so that a study that was cut goes on
where it stood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ray_easgd import strict_json
from ray_easgd.config import Config
from ray_easgd.data import DataSets
from ray_easgd.data.named import name_of
from ray_easgd.data.rows import RowSplit
from ray_easgd.data.sets import Order, Positions, Split
from ray_easgd.errors import EasgdError
from ray_easgd.figures.learning.size import Size
from ray_easgd.simulator.task_problem import TaskProblem
from ray_easgd.simulator.virtual_run import make_simulation
from ray_easgd.task import OpenTask, Task

Row = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is run. A gradient step takes a virtual second, a message on a wire a tenth of one."""

    data: str
    method: str
    workers: int
    period: int
    lr: float
    seed: int
    steps: int
    decay: float = 0.0

    @property
    def name(self) -> str:
        """Of its file."""
        decay = f"-decay{self.decay:g}" if self.decay else ""
        return (
            f"{self.data}-{self.method}-{self.workers}x{self.steps}-period{self.period}"
            f"-lr{self.lr:.4g}{decay}-seed{self.seed}"
        )

    def config(self, batch_size: int) -> Config:
        """As a configuration of the simulator."""
        schedule = {"name": "decay", "rate": self.decay} if self.decay else {"name": "constant"}
        return Config.build(
            {
                "algorithm": {"name": self.method, "period": self.period},
                "optimizer": {"lr": self.lr, "schedule": schedule},
                "fleet": {"workers": self.workers},
                "batch_size": batch_size,
                "seed": self.seed,
                "simulator": {"jitter": 0.2, "latency_s": 0.1},
            }
        )


class Cells:
    """The runs of a study, each once: from its file, or made and written there."""

    def __init__(self, size: Size, folder: Path, tell: Tell) -> None:
        self.size, self._folder, self._tell = size, folder, tell
        self._opened = lru_cache(maxsize=len(size.seeds))(self._open)
        folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, cell: Cell) -> Row:
        path, asked = self._folder / f"{cell.name}.json", self._asked(cell)
        if path.is_file():
            found = strict_json.loads(path.read_text("utf-8"))
            if found["asked"] == asked:
                return found
        self._tell(cell.name)
        found = {"asked": asked} | self._run(cell)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(strict_json.dumps(found) + "\n", "utf-8")
        unfinished.replace(path)
        return found

    def _asked(self, cell: Cell) -> Row:
        size, model = self.size, self.size.model_of(cell.data)
        return asdict(cell) | {
            "model": model if isinstance(model, str) else name_of(model),
            "samples": [size.train, size.validation, size.test],
            "batch_size": size.batch_size,
            "looks": size.looks,
        }

    def _run(self, cell: Cell) -> Row:
        """A fleet that breaks down stays at what it had reached."""
        torch.manual_seed(cell.seed)  # of augmentation and dropout, where there are any
        task, curve, end = self._opened(cell.data, cell.seed), list[Row](), ""
        problem = TaskProblem(task, self.size.batch_size)
        fleet = make_simulation(cell.config(self.size.batch_size), problem)
        try:
            for k in range(1, self.size.looks + 1):
                fleet.run(seconds=k * cell.steps / self.size.looks - fleet.clock.now_s)
                counts = [worker.elastic.counts for worker in fleet.workers]
                curve.append(
                    {
                        "time": fleet.clock.now_s,
                        "gradients": fleet.num_steps,
                        "bytes": sum(c.bytes_sent + c.bytes_received for c in counts),
                        "val_accuracy": problem.test(fleet.center, task.data.validation)[1],
                        "test_accuracy": problem.test(fleet.center, task.data.test)[1],
                    }
                )
        except EasgdError as error:
            end = str(error)
        return {"curve": curve, "broke_down": end}

    def _open(self, data: str, seed: int) -> OpenTask:
        size = self.size
        config = Config.build({"data": data, "seed": seed})
        task = Task(model=size.model_of(data)).open(config)
        sets = DataSets(
            spec=task.data.spec,
            train=_some(task.data.train, size.train, seed),
            validation=_some(task.data.validation, size.validation, seed),
            test=_some(task.data.test, size.test, seed=0),
        )
        return replace(task, data=sets)


@dataclass(frozen=True)
class Held:
    """A split in memory, standardised once; never augmented."""

    inputs: Tensor
    targets: Tensor
    drawn: Split

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, positions: Positions) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(positions)
        return self.inputs[rows], self.targets[rows]

    def order(self, seed: int, epoch: int) -> Order:
        return self.drawn.order(seed, epoch)


def _some(split: Split, count: int | None, seed: int) -> Split:
    """So many samples, drawn by ``seed``; all of them as they are where ``count`` is None."""
    if count is None:
        return split
    plain = replace(split, training=False) if isinstance(split, RowSplit) else split
    positions = np.sort(split.order(seed, 0).positions(0, min(count, len(split))))
    return Held(*plain.batch(positions), drawn=split)
