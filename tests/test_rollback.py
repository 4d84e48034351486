"""A run whose loss blows up goes back to its best checkpoint, and on with half the rate."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from torch import Tensor

from ray_easgd import ElasticTrainer, Task
from ray_easgd.config import Config
from ray_easgd.display import Progress, Silence
from ray_easgd.run_folder import RunFolder

pytestmark = pytest.mark.cluster


@dataclass
class Fuse:
    """A loss that is far too high while the file is there."""

    flag: str

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss = torch.nn.functional.cross_entropy(outputs, targets)
        return loss + 100.0 if Path(self.flag).exists() else loss


@dataclass
class Saboteur(Silence):
    """Blows the fuse once there is a checkpoint that says how good it is; mends it when told."""

    flag: Path
    folder: Path
    told: list[str] = field(default_factory=list)

    def update(self, progress: Progress) -> None:
        if not self.told and not self.flag.exists() and self.best():
            self.flag.touch()
        if self.told and progress.train_loss is not None:
            ray.get_actor("r:controller").stop.remote()

    def event(self, text: str) -> None:
        if "goes back to" in text:
            self.told.append(text)
            self.flag.unlink()

    def best(self) -> list[str]:
        said = [json.loads(path.read_text()) for path in self.folder.glob("checkpoints/*/*.json")]
        return [manifest for manifest in said if manifest["val_accuracy"] is not None]


def test_a_run_whose_loss_blows_up_goes_on_from_its_best_checkpoint(
    cluster: None, storage: dict[str, Any], tmp_path: Path
) -> None:
    flag, folder = tmp_path / "fuse", tmp_path / "r"
    saboteur = Saboteur(flag, folder)
    config = {
        "run": storage | {"checkpoint_s": 0.5},
        "fleet": {"workers": 2, "gpus_per_worker": 0, "steps_per_s": 40},
        "optimizer": {"lr": 0.02},
        "stop": {"seconds": 600},
    }
    task = Task(data="digits", loss=Fuse(str(flag)))
    result = ElasticTrainer(task=task, config=config).fit(display=saboteur)
    (told,) = saboteur.told
    assert "the training loss has blown up to 10" in told
    assert told.endswith("optimizer.lr=0.01.")
    best = str(result.metrics["resumed_from"])
    assert best in told
    assert result.metrics["train_loss"] < 10
    kept = RunFolder.open(result.path)
    assert Config.from_yaml(kept.read_config()).optimizer.lr == 0.01
    kinds = [event["kind"] for event in kept.read_events()]
    assert (kinds.count("rolled_back"), kinds.count("resumed")) == (1, 1)
