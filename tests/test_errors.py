"""Errors cross process boundaries as themselves and say what to do."""

from __future__ import annotations

import inspect
import pickle

import pytest

from ray_easgd import errors
from ray_easgd.errors import (
    BadCluster,
    BadConfig,
    BadData,
    BadInput,
    BadModel,
    BadStorage,
    Diverged,
    EasgdError,
    FleetLost,
    FolderLost,
    HubLost,
    LossBlewUp,
    Superseded,
    TrainingFailedError,
    Unavailable,
    WorkerFailed,
)

EXAMPLES: list[EasgdError] = [
    EasgdError("something of ours"),
    BadInput("data", "mnits", "there is no such data set", "Did you mean mnist?"),
    BadConfig("algorithm.beta", -1, "it must be positive", "Leave it out for 0.9."),
    BadData("data", "a/b", "it has no train.parquet", "Give a folder that has one."),
    BadModel("model", "resnet0", "it is unknown", "Did you mean resnet18?"),
    BadCluster("fleet.workers", 9, "the cluster fits 4", "Ask for 4."),
    BadStorage("run.name", "first", "it holds another run", "Choose a name."),
    Unavailable("torchft", "there is no uv to install it with"),
    TrainingFailedError("it could not go on"),
    WorkerFailed("worker 3", "ZeroDivisionError: division by zero"),
    FleetLost("worker-3 was lost 7 times: out of memory"),
    HubLost("the center", "its node died"),
    Superseded("/runs/first"),
    FolderLost("/runs/first", "No space left on device"),
    LossBlewUp(50.0, 2.3),
    Diverged("worker 3", 5),
]
BAD_INPUTS = [error for error in EXAMPLES if isinstance(error, BadInput)]


def kind(error: EasgdError) -> str:
    return type(error).__name__


def classes() -> set[type]:
    found = inspect.getmembers(errors, inspect.isclass)
    return {cls for _, cls in found if cls.__module__ == errors.__name__}


def test_every_error_class_has_an_example_here() -> None:
    assert {type(error) for error in EXAMPLES} == classes()


def test_every_error_descends_from_one_base_and_stands_in_the_drawing() -> None:
    assert all(issubclass(cls, EasgdError) for cls in classes())
    assert all(cls.__name__ in (errors.__doc__ or "") for cls in classes())


@pytest.mark.parametrize("error", EXAMPLES, ids=kind)
def test_an_error_crosses_a_pickle_as_itself(error: EasgdError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=kind)
def test_the_arguments_of_an_error_build_it_again(error: EasgdError) -> None:
    assert str(type(error)(*error.args)) == str(error)


@pytest.mark.parametrize("error", BAD_INPUTS, ids=kind)
def test_bad_input_names_field_value_problem_and_remedy(error: BadInput) -> None:
    assert str(error) == f"{error.field} = {error.value!r}: {error.problem}. {error.remedy}"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EasgdError("something of ours"), ["something of ours"]),
        (WorkerFailed("worker 3", "ZeroDivisionError"), ["worker 3", "ZeroDivisionError"]),
        (
            FleetLost("worker-3 was lost 7 times: out of memory"),
            ["7 times", "out of memory", "dashboard", "same command"],
        ),
        (HubLost("the center", "its node died"), ["the center", "its node died", "run again"]),
        (Superseded("/runs/first"), ["another driver", "/runs/first", "run.name"]),
        (FolderLost("/runs/first", "No space left"), ["No space left", "/runs/first", "goes on"]),
        (LossBlewUp(50.0, 2.3), ["50", "2.3", "optimizer.lr"]),
        (Diverged("worker 3", 5), ["worker 3", "5 times", "optimizer.lr"]),
    ],
    ids=lambda value: kind(value) if isinstance(value, EasgdError) else "",
)
def test_a_failure_says_what_happened_and_what_to_do(error: EasgdError, words: list[str]) -> None:
    assert [word for word in words if word not in str(error)] == []


def test_a_failed_run_has_no_result_unless_it_left_one() -> None:
    assert WorkerFailed("worker 3", "").result is None
