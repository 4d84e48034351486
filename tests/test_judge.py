"""What the driver makes of a test of the center that came to nothing, or comes to no end."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray.exceptions import ActorDiedError, ObjectLostError
from torch.utils.data import Dataset

from actors.evaluator import Evaluation
from actors.judge import Judge
from ray_easgd import Task
from ray_easgd.config import Config
from ray_easgd.parameters import ParameterVector
from ray_easgd.protocol import SnapshotHeader, Version

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("cluster")]


@ray.remote(num_cpus=0)
def fails(error: Exception) -> None:
    raise error


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def judge(told: list[str]) -> Judge:
    def tell(kind: str, message: str, **_: Any) -> None:
        told.append(kind)

    return Judge("j", Task(), Config(), tuple, on_evaluation=lambda _: None, tell=tell)


def came_to(judge: Judge, error: Exception) -> None:
    under_way: Any = fails.remote(error)
    judge._under_way = under_way
    judge._take()


@pytest.mark.parametrize("error", [ActorDiedError(), ObjectLostError("0" * 56, None, "")], ids=repr)
def test_a_center_that_is_lost_while_it_is_fetched_costs_that_test_alone(
    judge: Judge, told: list[str], error: Exception
) -> None:
    came_to(judge, error)
    assert told == []


def test_a_test_that_fails_by_itself_is_the_last(judge: Judge, told: list[str]) -> None:
    came_to(judge, ArithmeticError("not in evaluation"))
    assert told == ["evaluator_failed"]


class Bound(Dataset[Any]):
    """Samples that only the thread that opened them may read."""

    def __init__(self) -> None:
        self.file = sqlite3.connect(":memory:")

    def __len__(self) -> int:
        return 40

    def __getitem__(self, k: int) -> Any:
        (label,) = self.file.execute("select ? % 2", (k,)).fetchone()
        return torch.full((3,), float(k)), label


def test_data_that_belongs_to_a_thread_is_read_by_the_one_that_opened_it(told: list[str]) -> None:
    def tell(kind: str, message: str, **_: Any) -> None:
        told.append(message)

    task = Task(data=lambda: (Bound(), Bound()), model=lambda spec: torch.nn.Linear(3, 2))
    tests = list[Evaluation]()
    judge = Judge("j", task, Config(), tuple, on_evaluation=tests.append, tell=tell)
    header = SnapshotHeader(version=Version(1, 7), moving_rate=0.5)
    try:
        judge.last((header, [ray.put(np.zeros(8, np.float32))]))
    finally:
        judge.end()
    assert told == []
    assert len(tests) == 1


def test_a_stopped_evaluator_is_replaced_and_the_last_test_made(
    told: list[str], tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"

    def loss(outputs: Any, targets: Any) -> Any:
        import torch

        if not stopped.exists():
            stopped.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)
        return torch.nn.functional.cross_entropy(outputs, targets)

    def tell(kind: str, message: str, **_: Any) -> None:
        told.append(kind)

    config, task, tests = Config(), Task(data="digits", loss=loss), list[Evaluation]()
    judge = Judge("j", task, config, tuple, on_evaluation=tests.append, tell=tell, silence_s=1.0)
    vector = ParameterVector.bind(task.open(config).build_model()).flat.numpy()
    header = SnapshotHeader(version=Version(1, 7), moving_rate=0.5)
    try:
        judge.last((header, [ray.put(vector)]))
    finally:
        judge.end()
        with suppress(ProcessLookupError):
            os.kill(int(stopped.read_text()), signal.SIGKILL)
    assert told == ["evaluator_silent"]
    assert [test.version for test in tests] == [Version(1, 7)]
