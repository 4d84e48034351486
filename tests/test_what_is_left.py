"""What a failure leaves: the newest snapshot on a worker's device, and no half-written file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from actors.succession import newest
from ray_easgd.storage import LocalPlace


class OnADevice:
    """A tensor that is not in the host's memory."""

    def cpu(self) -> torch.Tensor:
        return torch.ones(3)

    def numpy(self) -> np.ndarray:
        raise TypeError("can't convert a tensor on a device to numpy")


def test_the_newest_snapshot_of_a_worker_with_a_gpu_can_be_handed_on() -> None:
    snapshot: Any = SimpleNamespace(header=object(), vector=OnADevice())
    link: Any = SimpleNamespace(hub_name="center", newest=snapshot, holding=None)
    header, vector = newest([link], "center", 0)
    assert header is snapshot.header
    assert vector.tolist() == [1.0, 1.0, 1.0]


def test_a_file_that_a_full_disk_cut_off_takes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = LocalPlace(tmp_path)
    place.write("it", b"before")

    def is_full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", is_full)
    with pytest.raises(OSError, match="No space left"):
        place.write("it", b"after")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
    assert place.read("it") == b"before"
