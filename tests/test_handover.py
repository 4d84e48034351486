"""A worker whose machine gives notice: another one goes on with what it had."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ray_easgd import session
from ray_easgd.algorithms import METHODS, Nesterov
from ray_easgd.algorithms.contract import Algorithm
from ray_easgd.algorithms.steps import LocalStep, Sgd, TorchStep
from ray_easgd.belongings import Belongings
from ray_easgd.session import Session, SessionElastic
from tests.fakes import Points, Recorder, make_hub, make_session, small_model

STEPS: dict[str, Callable[[nn.Module], LocalStep]] = {
    "sgd": lambda model: Sgd(model.parameters(), lr=0.05),
    "nesterov": lambda model: Nesterov(model.parameters(), lr=0.05, momentum=0.9),
    "AdamW": lambda model: TorchStep(torch.optim.AdamW(model.parameters(), lr=0.05)),
}
MOVING = [m for m in METHODS.values() if m.moves_house]


def trained(active: Session, make_step: Callable[[nn.Module], LocalStep]) -> SessionElastic:
    """A worker whose loop has come to its end, and its last exchange."""
    with session.use(active):
        model = small_model()
        step = make_step(model)
        tie = active.elastic(model, step)
        for inputs, targets in active.data(Points(), batch_size=8):
            step.prepare()
            step.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            step.step()
            tie.step()
        tie.finish()
    return tie


def draws() -> list[float]:
    """From each generator that a loop may use."""
    return [float(torch.rand(1)), float(np.random.rand()), random.random()]


def flat(state: Any) -> list[torch.Tensor]:
    """Every tensor in it, in order."""
    if isinstance(state, torch.Tensor):
        return [state]
    items = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return [tensor for item in items for tensor in flat(item)]


@pytest.mark.parametrize("algorithm", MOVING, ids=lambda a: a.name)
@pytest.mark.parametrize("name", STEPS)
def test_the_next_begins_where_the_last_one_ended(algorithm: Algorithm, name: str) -> None:
    hub = make_hub(algorithm)
    first = trained(make_session(algorithm, hub), STEPS[name])
    left = first.belongings()
    drawn = draws()
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    center = hub.snapshot().vector.clone()
    assert not torch.equal(first.vector.flat, center), "there is a displacement to lose"

    heir = make_session(algorithm, hub)
    heir.inherit = lambda: left
    model = small_model()
    step = STEPS[name](model)
    tie = heir.elastic(model, step)
    assert torch.equal(tie.vector.flat, first.vector.flat)
    for mine, other in zip(flat(step.state_dict()), flat(_state(first)), strict=True):
        assert torch.equal(mine, other)
    assert draws() == drawn
    assert torch.equal(hub.snapshot().vector, center), "the center has moved for neither"
    assert isinstance(heir.reporter, Recorder)
    assert heir.reporter.events == ["inherited"]


def test_what_does_not_fit_is_let_alone() -> None:
    easgd = METHODS["easgd"]
    hub = make_hub(easgd)
    left = trained(make_session(easgd, hub), STEPS["sgd"]).belongings()
    other = Belongings(owner="w", vector=left.vector[1:], step=left.step, random=left.random)
    heir = make_session(easgd, hub)
    heir.inherit = lambda: other
    tie = heir.elastic(small_model())
    assert torch.equal(tie.vector.flat, hub.snapshot().vector)


def test_a_method_that_begins_at_the_center_asks_for_nothing() -> None:
    def inherit() -> Belongings:
        raise AssertionError("asked")

    for algorithm in METHODS.values():
        if not algorithm.moves_house and algorithm.rounds == "none" and not algorithm.sequential:
            heir = make_session(algorithm, make_hub(algorithm))
            heir.inherit = inherit
            heir.elastic(small_model())


def _state(tie: SessionElastic) -> dict[str, Any]:
    step = tie._local_step
    assert step is not None
    return step.state_dict()
