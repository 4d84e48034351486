"""Whole runs, through the public face, on the shared cluster."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from ray_easgd import ElasticTrainer, ScalingConfig, Task, session
from ray_easgd.algorithms import METHODS
from ray_easgd.checkpoint import read_checkpoint
from ray_easgd.display import Silence
from ray_easgd.errors import BadConfig, BadModel, WorkerFailed
from ray_easgd.run_folder import RunFolder
from tests.fakes import Points, small_model

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parent.parent


FOR_SO_SHORT_A_RUN: dict[str, dict[str, Any]] = {
    "mvasgd": {"center": {"average_rate": 0.02}},
    "mvadownpour": {"center": {"average_rate": 0.02}},
    "mdownpour": {"stop": {"samples": 200_000}},
    "diloco_async": {"stop": {"samples": 200_000}},
    "admm_async": {"stop": {"samples": 150_000}},  # few exchanges in the second that less takes
}


def settings(storage: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {"run": storage, "fleet": {"workers": 2, "gpus_per_worker": 0}, **sections}


def own_loop(config: dict[str, Any]) -> None:
    """A small loop of a user's own; does to itself what ``config`` says."""
    import torch

    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    elastic = session.elastic(model, optimizer)
    for inputs, targets in session.data(Points(), batch_size=8):
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        elastic.step(loss)
        marker = Path(config.get("marker", "/nonexistent"))
        if marker.exists() and elastic.clock == 20:
            marker.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if config.get("raise") and elastic.clock == 20:
            raise ZeroDivisionError(config["raise"])
    session.report({"end": 1.0})


def actors_left(run: str) -> list[str]:
    return [name for name in ray.util.list_named_actors() if name.startswith(f"{run}:")]


# One of each kind: elastic, in rounds, by dual variables; `make long` adds one without a center,
# with an average of it, one-way, with an outer step. What tells the others apart is arithmetic,
# tested without actors.
KINDS = ("eamsgd", "easgd_sync", "admm_async")
MORE = ("sgd", "mvasgd", "mvadownpour", "diloco_async")


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [*KINDS, *(pytest.param(name, marks=pytest.mark.long) for name in MORE)]
)
def test_each_kind_of_method_trains_the_digits(
    cluster: None, storage: dict[str, Any], method: str
) -> None:
    workers = 1 if METHODS[method].sequential else 2
    result = ElasticTrainer(
        config={
            "algorithm": {"name": method},
            "fleet": {"workers": workers, "gpus_per_worker": 0},
            "run": storage,
            **FOR_SO_SHORT_A_RUN.get(method, {}),
        }
    ).fit(display=Silence())
    metrics = result.metrics
    assert metrics["test_accuracy"] > 0.93
    assert metrics["samples_missed"] == 0
    assert metrics["samples"] >= 60_000
    assert {row["never"] for row in metrics["epochs"]} == {0}
    seen = sum(row["once"] + row["again"] for row in metrics["epochs"])
    assert seen == metrics["samples"] - metrics["samples_repeated"]
    assert Path(result.path, "report.html").read_text().count("<svg") >= 6
    assert result.checkpoint is not None
    assert read_checkpoint(result.checkpoint).manifest["algorithm"] == method
    assert actors_left("r") == []


@pytest.mark.long  # `make test` kills them in chaos
def test_a_killed_worker_is_replaced_and_the_run_goes_on(
    cluster: None, storage: dict[str, Any], tmp_path: Path
) -> None:
    marker = tmp_path / "die"
    marker.touch()
    result = ElasticTrainer(
        own_loop,
        train_loop_config={"marker": str(marker)},
        config=settings(storage, stop={"samples": 20_000}, algorithm={"name": "easgd"}),
    ).fit(display=Silence())
    events = [event["kind"] for event in RunFolder.open(result.path).read_events()]
    assert not marker.exists()
    assert events.count("worker_lost") == 1
    assert result.metrics["samples"] - result.metrics["samples_repeated"] == 20_000
    assert result.metrics["samples_missed"] == 0
    assert result.metrics["end"] == 1.0
    checkpoint = read_checkpoint(result.checkpoint or "")
    assert set(checkpoint.tensors) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert np.isfinite(checkpoint.vector).all()
    assert actors_left("r") == []


def test_a_users_error_ends_the_run_with_its_traceback(
    cluster: None, storage: dict[str, Any]
) -> None:
    trainer = ElasticTrainer(
        own_loop,
        train_loop_config={"raise": "my own mistake"},
        config=settings(storage, stop={"samples": 20_000}),
    )
    with pytest.raises(WorkerFailed, match="my own mistake") as caught:
        trainer.fit(display=Silence())
    assert caught.value.result is not None
    assert caught.value.result.error is caught.value
    assert "my own mistake" in Path(caught.value.result.path, "report.html").read_text()
    assert actors_left("r") == []


def test_an_evaluator_that_fails_costs_its_tests_and_not_the_run(
    cluster: None, storage: dict[str, Any]
) -> None:
    def loss(outputs: Any, targets: Any) -> Any:
        import torch

        if not torch.is_grad_enabled():
            raise ArithmeticError("not in evaluation")
        return torch.nn.functional.cross_entropy(outputs, targets)

    result = ElasticTrainer(
        task=Task(data="digits", loss=loss), config=settings(storage, stop={"samples": 10_000})
    ).fit(display=Silence())
    events = {e["kind"]: e["message"] for e in RunFolder.open(result.path).read_events()}
    assert "not in evaluation" in events["evaluator_failed"]
    assert result.metrics["test_accuracy"] is None
    assert read_checkpoint(result.checkpoint or "").vector.size > 0


@pytest.mark.long
def test_an_evaluator_whose_process_goes_is_asked_again(
    cluster: None, storage: dict[str, Any], tmp_path: Path
) -> None:
    deaths = tmp_path / "deaths"

    def loss(outputs: Any, targets: Any) -> Any:
        import os
        import signal

        import torch

        if not torch.is_grad_enabled() and (not deaths.exists() or deaths.stat().st_size < 2):
            with deaths.open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.nn.functional.cross_entropy(outputs, targets)

    result = ElasticTrainer(
        task=Task(data="digits", loss=loss), config=settings(storage, stop={"samples": 10_000})
    ).fit(display=Silence())
    assert deaths.read_text() == "xx"
    assert result.metrics["test_accuracy"] > 0.5
    assert "evaluator_failed" not in {e["kind"] for e in RunFolder.open(result.path).read_events()}


def test_a_loop_may_pass_over_its_data_as_often_as_it_likes(
    cluster: None, storage: dict[str, Any]
) -> None:
    """Two passes without any stop.*; what follows the loop still counts."""

    def loop() -> None:
        import torch

        model = small_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        elastic = session.elastic(model, optimizer)
        for _ in range(2):
            for inputs, targets in session.data(Points(), batch_size=8, epochs=3):
                loss = torch.nn.functional.cross_entropy(model(inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                elastic.step(loss)
        session.report({"loss": 7.0})

    config = settings(storage, algorithm={"name": "easgd"}, exchange={"ledger": True})
    metrics = ElasticTrainer(loop, config=config).fit(display=Silence()).metrics
    assert metrics["samples"] - metrics["samples_repeated"] == 6 * 64
    assert metrics["samples_missed"] == 0
    assert metrics["loss"] == 7.0, "the user's own, beside ours"
    assert metrics["ledger_error"] < 1e-5


def test_a_model_that_cannot_be_held_is_named(cluster: None, storage: dict[str, Any]) -> None:
    def loop() -> None:
        session.elastic(small_model().double())

    with pytest.raises(BadModel, match=r"model\.0\.weight.*float32"):
        ElasticTrainer(loop, config=settings(storage)).fit(display=Silence())
    assert actors_left("r") == []


def test_a_run_can_be_bounded_in_time_alone(cluster: None, storage: dict[str, Any]) -> None:
    """A loop without end is unwound, and its last exchange made."""

    def loop() -> None:
        elastic = session.elastic(small_model())
        while True:
            elastic.vector.flat.mul_(0.999)
            elastic.step()

    result = ElasticTrainer(
        loop, config=settings(storage, stop={"seconds": 1.5}, algorithm={"name": "easgd"})
    ).fit(display=Silence())
    kinds = {event["kind"] for event in RunFolder.open(result.path).read_events()}
    assert result.metrics["exchanges"] > 2
    assert "left_behind" not in kinds


def test_ray_trains_shape_is_understood() -> None:
    trainer = ElasticTrainer(
        own_loop,
        scaling_config=ScalingConfig(num_workers=(2, 4), resources_per_worker={"CPU": 0.5}),
        config={"seed": 3},
    )
    assert trainer.config.fleet.bounds == (2, 4)
    assert trainer.config.fleet.cpus_per_worker == 0.5
    assert trainer.config.fleet.gpus_per_worker is None, "left to the cluster"
    on_cpu = ElasticTrainer(own_loop, scaling_config=ScalingConfig(use_gpu=False))
    assert on_cpu.config.fleet.gpus_per_worker == 0.0
    with pytest.raises(BadConfig, match=r"resources_per_worker.TPU"):
        ElasticTrainer(own_loop, scaling_config=ScalingConfig(resources_per_worker={"TPU": 1}))
    with pytest.raises(BadConfig, match="Give one of the two"):
        ElasticTrainer(own_loop, task=Task())
    with pytest.raises(BadConfig, match=r"stop\.accuracy.*nobody tests"):
        ElasticTrainer(own_loop, config={"stop": {"accuracy": 0.9}}).fit()


def test_the_configuration_says_what_a_task_trains() -> None:
    named = ElasticTrainer(task=Task(model="small_cnn"), config={"data": "fashion_mnist"})
    assert (named.config.model, named.config.data) == ("small_cnn", "fashion_mnist")
    own = ElasticTrainer(task=Task(model=lambda _: small_model(), data="digits"))
    assert own.config.model.startswith("tests.test_trainer:")


@pytest.mark.parametrize("block", [0, 1])
def test_the_examples_of_the_readme_run(
    cluster: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, block: int
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("actors.cluster.gpus_per_worker", lambda _: 0.0)
    monkeypatch.setattr("actors.run.gpus_per_worker", lambda _: 0.0)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {"__name__": "readme"}
    exec(blocks[block], names)
    metrics = names["result"].metrics
    good = metrics["test_accuracy"] > 0.9 if block == 0 else metrics["final_loss"] < 0.1
    assert good, metrics


@pytest.mark.slow
@pytest.mark.usefixtures("real_data")
def test_real_fashion_mnist_is_learned(cluster: None, storage: dict[str, Any]) -> None:
    config = settings(
        storage,
        data="fashion_mnist",
        model="small_cnn",
        batch_size=64,
        optimizer={"lr": 0.02},
        stop={"samples": 108_000},
        evaluation={"interval_s": 60},
    )
    result = ElasticTrainer(config=config).fit(display=Silence())
    assert result.metrics["test_accuracy"] > 0.85


@pytest.mark.gpu
@pytest.mark.slow
def test_four_workers_share_one_gpu(storage: dict[str, Any]) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU here: CUDA is absent")
    fleet = {"workers": 4, "gpus_per_worker": 0.25}
    result = ElasticTrainer(config={"run": storage, "fleet": fleet}).fit(display=Silence())
    assert result.metrics["test_accuracy"] > 0.93
