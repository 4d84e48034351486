"""The work that all contenders do, and the order that one process of a contender gets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from torch import Tensor

    from ray_easgd.data.sets import Split
    from ray_easgd.task import OpenTask


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The same for everyone: what is learned, in which steps, by how many, and until when.

    ``samples``: of all workers together; None trains until it is ended. ``pauses_s``: seconds that
    a worker's step takes longer, rank by rank, repeated. ``schedule`` is constant.
    """

    data: str = "fashion_mnist"
    model: str = "small_cnn"
    batch_size: int = 64
    lr: float = 0.02
    momentum: float = 0.9
    period: int = 16
    num_workers: int = 2
    samples: int | None = None
    snapshot_s: float = 1.0
    seed: int = 0
    pauses_s: tuple[float, ...] = (0.0,)

    def pause_s(self, rank: int) -> float:
        """How much longer a step of that worker takes."""
        return self.pauses_s[rank % len(self.pauses_s)]

    def open(self) -> OpenTask:
        """Data and model."""
        from ray_easgd.config import Config
        from ray_easgd.task import Task

        config = Config.build({"data": self.data, "model": self.model, "seed": self.seed})
        return Task().filled(config).open(config)

    def num_steps(self, num_workers: int) -> int | None:
        """Of each of so many workers that share the samples evenly."""
        if self.samples is None:
            return None
        return max(1, self.samples // (self.batch_size * num_workers))

    def batches(
        self, split: Split, rank: int, num_workers: int, begin: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One worker's batches from its step ``begin`` on.

        Each epoch is one permutation, dealt out batch by batch, so that no sample goes to two.
        """
        dealt = len(split) // (self.batch_size * num_workers)  # rounds of an epoch
        end = self.num_steps(num_workers)
        step = begin
        while end is None or step < end:
            epoch, turn = divmod(step, dealt)
            at = (turn * num_workers + rank) * self.batch_size
            positions = split.order(self.seed, epoch).positions(at, at + self.batch_size)
            yield split.batch(positions)
            step += 1


@dataclass(frozen=True, kw_only=True)
class Order:
    """What one contender's processes are told, as a file.

    ``began_at``: Unix time of the command. ``port`` is free, for whoever hosts a rendezvous at
    ``host``. ``hosts``: the namespaces that workers are in, where they are apart, and the address
    of each. ``resume``: a snapshot to go on from, and the steps that each worker had taken.
    ``grows_to``: so many workers it will be, once the file ``growth`` is there.
    """

    workload: Workload
    folder: str
    began_at: float
    port: int
    host: str = "127.0.0.1"
    num_workers: int = 2
    options: Mapping[str, Any] = field(default_factory=dict)
    resume: str | None = None
    resume_step: int = 0
    lives: int = 1
    checkpoints: bool = False
    grows_to: int | None = None
    hosts: tuple[Mapping[str, str], ...] = ()

    @property
    def growth(self) -> Path:
        """The file that tells who sees to it himself that more workers are wanted."""
        return Path(self.folder, "growth")

    def address(self, rank: int) -> str:
        """Where that worker is."""
        return self.hosts[rank]["address"] if self.hosts else self.host

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: str) -> Self:
        """What ``write`` has written."""
        told = json.loads(Path(path).read_text("utf-8"))
        work = told.pop("workload")
        work["pauses_s"] = tuple(work["pauses_s"])
        told["hosts"] = tuple(told["hosts"])
        return cls(workload=Workload(**work), **told)
