"""The two ways in: the built-in loop, and one's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ray_easgd import session
from ray_easgd.algorithms import METHODS, Nesterov, Sgd
from ray_easgd.algorithms.contract import Order
from ray_easgd.config import Config
from ray_easgd.errors import BadConfig
from ray_easgd.loop import train_task
from ray_easgd.session import Session
from ray_easgd.task import OpenTask, Task
from tests.fakes import Points, make_hub, make_session, small_model

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: Sgd(p, lr=0.05),
    "nesterov": lambda p: Nesterov(p, lr=0.05, momentum=0.9),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.05),
}


def tensors() -> Any:
    points = Points()
    return (points.inputs, points.targets), (points.inputs[:8], points.targets[:8])


def built_in(config: Config, active: Session) -> None:
    task = Task(model=lambda spec: small_model(), data=tensors).open(config)
    train_task(active, task, config)


def own(config: Config, task: OpenTask) -> None:
    """What a user would write with the session's verbs, on the same data."""
    model = small_model()
    name = config.optimizer.name or "sgd"
    optimizer: Any = OPTIMIZERS[name](model.parameters())
    elastic = session.elastic(model, optimizer)
    for inputs, targets in session.data(task.data.train, batch_size=8):
        if name == "nesterov":
            optimizer.prepare()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        elastic.step()


def settings(optimizer: str, order: str) -> Config:
    section: dict[str, Any] = {"name": optimizer, "lr": 0.05}
    if optimizer == "SGD":
        section["momentum"] = 0.8
    return Config.build(
        {
            "algorithm": {"name": "easgd", "order": order},
            "optimizer": section,
            "batch_size": 8,
            "seed": 7,
        }
    )


@pytest.mark.parametrize("order", ["between_steps", "at_snapshot"])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_both_loops_end_in_the_same_vectors_to_the_bit(optimizer: str, order: Order) -> None:
    config, algorithm = settings(optimizer, order), METHODS["easgd"]
    ends: list[tuple[Tensor, Tensor]] = []
    for which in ("built-in", "own"):
        hub = make_hub(algorithm)
        active = make_session(algorithm, hub, order=order, total=160)
        with session.use(active):
            if which == "own":
                own(config, Task(model="mlp", data=tensors).open(config))
            else:
                built_in(config, active)
        assert active.tie is not None
        assert hub.vector is not None
        active.tie.finish()
        ends.append((active.tie.vector.flat, hub.vector))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    start = torch.cat([p.detach().reshape(-1) for p in small_model().parameters()])
    assert not torch.equal(ends[0][1], start), "something was learned"


def test_a_learning_rate_follows_its_schedule() -> None:
    config = Config.build(
        {
            "algorithm": {"name": "easgd"},
            "optimizer": {"lr": 0.05, "schedule": {"name": "cosine", "warmup": 0, "total": 1}},
            "batch_size": 8,
        }
    )
    many, one = (after(config, total) for total in (160, 8))
    assert torch.allclose(many, one, atol=1e-6), "after the first step the rate is zero"


def test_who_comes_late_enters_the_schedule_where_the_others_are() -> None:
    schedule = {"name": "cosine", "warmup": 0, "total": 1}
    config = Config.build({"optimizer": {"lr": 0.05, "schedule": schedule}, "batch_size": 8})
    start = torch.cat([p.detach().reshape(-1) for p in small_model().parameters()])
    assert torch.allclose(after(config, 8, schedule_offset=1), start, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "SGD"])
def test_a_step_is_no_longer_than_its_clipped_gradient(optimizer: str) -> None:
    section = {"name": optimizer, "lr": 0.05, "momentum": 0.8, "clip_norm": 1e-3}
    if optimizer == "sgd":
        section.pop("momentum")
    config = Config.build({"algorithm": {"name": "easgd"}, "optimizer": section, "batch_size": 8})
    start = torch.cat([p.detach().reshape(-1) for p in small_model().parameters()])
    length = float((after(config, 8) - start).norm())
    half = 0.5  # the last exchange brings it to the center
    assert length == pytest.approx(half * 0.05 * 1e-3, rel=0.05)


def test_gradients_below_the_norm_are_not_touched() -> None:
    plain = {"algorithm": {"name": "easgd"}, "batch_size": 8}
    wide = plain | {"optimizer": {"clip_norm": 1e6}}
    one, other = (after(Config.build(groups), 80) for groups in (plain, wide))
    assert torch.equal(one, other)


@pytest.mark.parametrize("norm", [0, -1, float("inf")])
def test_a_norm_that_clips_nothing_or_all_is_refused(norm: float) -> None:
    with pytest.raises(BadConfig, match=r"optimizer\.clip_norm"):
        Config.build({"optimizer": {"clip_norm": norm}})


def test_what_a_worker_leaves_goes_on_in_its_schedule() -> None:
    algorithm = METHODS["easgd"]
    hub = make_hub(algorithm)
    one, other = (make_session(algorithm, hub) for _ in range(2))
    one.schedule_offset, other.inherit = 40, one_that_left(one)
    tie = other.elastic(small_model())
    assert (tie.clock, tie.schedule_clock) == (0, 43)


def one_that_left(active: Session) -> Any:
    """After three steps."""
    tie = active.elastic(small_model())
    for _ in range(3):
        tie.step()
    return tie.belongings


def after(config: Config, total: int, *, schedule_offset: int = 0) -> Tensor:
    """The worker's vector after ``total`` samples, without any exchange."""
    algorithm = METHODS["easgd"]
    active = make_session(algorithm, make_hub(algorithm), total=total, period=10**6)
    active.schedule_offset = schedule_offset
    built_in(config, active)
    assert active.tie is not None
    return active.tie.vector.flat


def test_verbs_outside_a_worker_say_where_they_belong() -> None:
    with pytest.raises(RuntimeError, match="inside train_loop_per_worker"):
        session.elastic(small_model())
