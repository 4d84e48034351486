"""What a worker leaves behind: a line for each moment, and snapshots of the weights."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ray_easgd.journal import Journal
from ray_easgd.peers.workload import Order

if TYPE_CHECKING:
    from torch import nn

SNAPSHOTS = "snapshots"
_STEP_EVERY_S = 0.05


class Record:
    """Of one worker's process. ``clock``: its steps, those before it was started again included."""

    def __init__(self, order: Order, rank: int) -> None:
        self._journal = Journal(f"{order.folder}/journals", f"worker-{rank}")
        self._snapshots = Path(order.folder, SNAPSHOTS)
        self._snapshots.mkdir(exist_ok=True)
        self._every_s = order.workload.snapshot_s
        self._rank, self.clock = rank, order.resume_step
        self._samples = 0
        self._written_at = self._taken_at = 0.0
        self._journal.write("ready", rank=rank)

    def stepped(self, samples: int) -> None:
        """A gradient step was taken on so many; not every one is written down."""
        self.clock += 1
        self._samples += samples
        now = time.monotonic()
        if now - self._written_at >= _STEP_EVERY_S:
            self._written_at = now
            self._write()

    def is_due(self) -> bool:
        """Whether this worker keeps snapshots, and it is time for one."""
        return self._rank == 0 and time.monotonic() - self._taken_at >= self._every_s

    def keep(self, model: nn.Module) -> str:
        """Write the weights as they are; the path."""
        from torch.nn.utils import parameters_to_vector

        vector = parameters_to_vector(p for p in model.parameters() if p.requires_grad)
        path = self._snapshots / f"{self.clock:09d}-{time.time_ns()}.npy"
        aside = path.with_suffix(".part")
        with aside.open("wb") as file:
            np.save(file, vector.detach().numpy())
        aside.rename(path)
        self._taken_at = time.monotonic()
        self._journal.write("snapshot", path=str(path), clock=self.clock)
        return str(path)

    def close(self) -> None:
        """The last step, and that it ended by itself."""
        self._write()
        self._journal.write("done", rank=self._rank)

    def _write(self) -> None:
        self._journal.write("step", clock=self.clock, samples=self._samples)
