"""A trial's snapshots, tested once the trial is over: nobody tests while others are timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import vector_to_parameters

from ray_easgd.checkpoint import FOLDER, MANIFEST, read_checkpoint
from ray_easgd.evaluate import evaluate, renew_buffers
from ray_easgd.peers.rows import Score
from ray_easgd.peers.trial import Outcome
from ray_easgd.peers.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Weights as they were at that moment: a vector's file, or a checkpoint's folder."""

    at: float
    path: Path

    def load(self) -> np.ndarray:
        """The parameter vector."""
        if self.path.is_dir():
            return read_checkpoint(str(self.path)).vector
        vector: np.ndarray = np.load(self.path)
        return vector


def snapshots_of(outcome: Outcome, run: str) -> list[Snapshot]:
    """In the order of time: those that workers kept, or the checkpoints of our own ``run``."""
    kept = [
        Snapshot(at=entry.at, path=Path(entry.values["path"]))
        for entry in outcome.entries.get("snapshot", ())
    ]
    checkpoints = [
        Snapshot(at=manifest.stat().st_mtime, path=manifest.parent)
        for manifest in Path(outcome.order.folder, run, FOLDER).glob(f"*/{MANIFEST}")
    ]
    return sorted([*kept, *checkpoints], key=lambda snapshot: snapshot.at)


def scores_of(snapshots: Sequence[Snapshot], workload: Workload, target: float) -> list[Score]:
    """Their test accuracies: of each up to the first that reaches the target, and of the last."""
    if not snapshots:
        return []
    task = workload.open()
    model = task.build_model()
    found: list[Score] = []
    for snapshot in snapshots:
        is_last = snapshot is snapshots[-1]
        if not is_last and any(t.accuracy >= target for t in found):
            continue
        vector_to_parameters(torch.from_numpy(snapshot.load().copy()), model.parameters())
        model.eval()
        renew_buffers(model, task)
        _, accuracy = evaluate(model, task, task.data.test)
        found.append(Score(at=snapshot.at, accuracy=accuracy))
    return found
