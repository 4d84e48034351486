"""What ``ElasticTrainer`` is given: shapes of Ray Train's, and mistakes, before anything starts."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from ray_easgd import Config, ElasticTrainer, RunConfig, ScalingConfig, Task
from ray_easgd.errors import BadInput


def loop() -> None:
    """A loop that is never run."""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"run_config": {"nam": "x"}}, r"run_config.nam = 'x'.*Known: name, storage_path"),
        ({"run_config": "x"}, r"run_config = 'x': it cannot be of type str.*Give a RunConfig"),
        ({"scaling_config": {"workers": 2}}, r"scaling_config.workers = 2.*num_workers"),
        ({"scaling_config": 2}, r"scaling_config = 2: it cannot be of type int"),
        ({"scaling_config": {"resources_per_worker": 1}}, r"resources_per_worker = 1.*CPU"),
        ({"scaling_config": {"num_workers": (2,) * 3}}, r"fleet.workers = '2..2..2'"),
        ({"config": "x.yaml"}, r"config = 'x.yaml': it cannot be of type str.*Config.load"),
        ({"config": {"fleet": None}, "scaling_config": ScalingConfig()}, r"fleet = None"),
        ({"task": "mlp"}, r"task = 'mlp': it cannot be of type str.*Task\("),
        ({"train_loop_per_worker": "foo"}, r"train_loop_per_worker = 'foo'.*task="),
        ({"train_loop_config": {"lr": 1}}, r"train_loop_config = {'lr': 1}: there is no loop"),
        ({"train_loop_per_worker": loop, "datasets": [1]}, r"datasets = \[1\].*mapping"),
        ({"train_loop_per_worker": loop, "task": Task()}, r"Give one of the two"),
    ],
)
def test_a_mistaken_argument_is_named_with_its_remedy(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        ElasticTrainer(**arguments)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"model": 3}, r"model = 3: it cannot be of type int"),
        ({"model": nn.Linear(2, 2)}, r"it cannot be of type Linear.*function that builds it"),
        ({"data": 3}, r"data = 3: it cannot be of type int.*\(train, test\)"),
        ({"loss": "mse"}, r"loss = 'mse'"),
    ],
)
def test_a_part_of_a_task_that_is_neither_name_nor_function_is_refused(
    part: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        Task(**part)


@pytest.mark.parametrize(
    ("scaling", "run"),
    [
        ({"num_workers": (2, 3), "use_gpu": False}, {"name": "x", "storage_path": "/y"}),
        (ScalingConfig(num_workers=(2, 3), use_gpu=False), RunConfig(name="x", storage_path="/y")),
    ],
)
def test_mappings_stand_for_ray_trains_objects(scaling: Any, run: Any) -> None:
    config = ElasticTrainer(loop, scaling_config=scaling, run_config=run).config
    assert config.fleet == Config.build({"fleet.workers": "2..3", "fleet.gpus_per_worker": 0}).fleet
    assert (config.run.name, config.run.storage) == ("x", "/y")


def test_a_mapping_sets_what_it_says_and_no_more() -> None:
    config = {"fleet": {"workers": 8}}
    trainer = ElasticTrainer(loop, config=config, scaling_config={"use_gpu": False})
    assert trainer.config.fleet.workers == 8
    assert trainer.config.fleet.gpus_per_worker == 0
