"""What the driver makes of a test of the center that came to nothing."""

from __future__ import annotations

from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, ObjectLostError

from actors.judge import Judge
from ray_easgd import Task
from ray_easgd.config import Config

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
