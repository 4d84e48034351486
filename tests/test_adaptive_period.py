"""A period that follows its target, and says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ray_easgd.adaptive_period import PeriodGovernor
from ray_easgd.algorithms import METHODS
from ray_easgd.config import Config
from ray_easgd.errors import BadConfig
from ray_easgd.hub import Hub, options_for
from ray_easgd.loop import resolve
from tests.fakes import Recorder, make_session


class Watch:
    """A clock that only the test winds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 500), st.floats(0.01, 100.0), st.floats(0.5, 1.0))
def test_a_distance_that_grows_with_the_period_reaches_its_target(
    period: int, target: float, power: float
) -> None:
    governor = PeriodGovernor(period, distance=target)
    for _ in range(40 * 16):
        governor.met(0.1 * governor.period**power)
        governor.decide()
    found = 0.1 * governor.period**power
    near = target / 1.3 < found < target * 1.3
    assert near or governor.period in {1, 2, 3, 4096}, "whole steps, from 1 on"
    before = governor.period
    for _ in range(64):
        governor.met(0.1 * governor.period**power)
        governor.decide()
    assert governor.period == before or before <= 3, "there it stays"


def test_the_share_of_time_reaches_its_target() -> None:
    watch = Watch()
    governor = PeriodGovernor(1, share=0.05, clock_s=watch)
    for _ in range(400):
        watch.now += 0.01 * governor.period + 0.004  # steps, and one exchange
        governor.spent(0.004)
        governor.met(1.0)
        governor.decide()
    share = 0.004 / (0.01 * governor.period + 0.004)
    assert 0.05 / 1.3 < share < 0.05 * 1.3


def test_nothing_is_decided_before_there_is_something_to_judge() -> None:
    governor = PeriodGovernor(10, distance=1.0)
    for _ in range(15):
        governor.met(100.0)
        assert governor.decide() == ""
    governor.met(100.0)
    assert "period 5 instead of 10: the mean distance was 100" in governor.decide()


def test_a_worker_changes_its_own_period_and_tells_why() -> None:
    algorithm = METHODS["easgd"]
    session = make_session(algorithm, Hub(options_for(algorithm)), period=4)
    session.governor = PeriodGovernor(4, distance=1e-9)
    model = torch.nn.Linear(3, 1)
    tie = session.elastic(model)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn(p.shape, generator=generator), alpha=0.1)
        tie.step()
    assert session.governor.period == 1
    assert isinstance(session.reporter, Recorder)
    assert "period" in session.reporter.events
    before = tie.counts.exchanges
    for _ in range(10):
        tie.step()
    assert tie.counts.exchanges == before + 10


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"name": "easgd", "target_distance": 1.0, "target_share": 0.1}, "algorithm.target_share"),
        ({"name": "easgd_sync", "target_share": 0.1}, "algorithm.target_share"),
        ({"name": "diloco", "target_distance": 0.1}, "algorithm.target_distance"),
    ],
)
def test_targets_that_cannot_be_followed_are_refused(section: dict[str, Any], field: str) -> None:
    with pytest.raises(BadConfig) as caught:
        resolve(Config.build({"algorithm": section}))
    assert caught.value.field == field
