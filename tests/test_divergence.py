"""The guard against a loss that blows up: what trips it, and what does not."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from ray_easgd.divergence import FIRST, PATIENCE, DivergenceGuard


def fed(*losses: float | None) -> DivergenceGuard:
    """Each a little different from the one before, as measured ones are."""
    guard = DivergenceGuard()
    for k, loss in enumerate(losses):
        guard.see(None if loss is None else loss * (1 + 1e-6 * k))
    return guard


def test_a_loss_that_blows_up_and_stays_there_has_diverged() -> None:
    assert fed(*[2.3] * FIRST, 1.0, *[50.0] * PATIENCE).diverged
    assert not fed(*[2.3] * FIRST, 1.0, *[50.0] * (PATIENCE - 1)).diverged


def test_a_spike_passes() -> None:
    calm = [2.3] * FIRST
    assert not fed(*calm, *[50.0] * (PATIENCE - 1), 1.0, *[50.0] * (PATIENCE - 1)).diverged


def test_who_began_well_trained_may_get_a_little_worse() -> None:
    assert not fed(*[0.05] * FIRST, *[0.3] * 100).diverged


def test_who_began_with_nothing_may_come_back_to_where_it_was() -> None:
    assert not fed(*[2.3] * FIRST, 0.01, *[2.3] * 100).diverged


@given(st.lists(st.floats(-1e3, 0.0), min_size=FIRST, max_size=FIRST), st.floats(1, 1e6))
@example([0.0, 0.0, 0.0, -1.0, -1.0], 1.0)  # of equal ones in a row the first alone counts
def test_a_loss_without_a_scale_is_not_judged(start: list[float], later: float) -> None:
    assert not fed(*start, *[later] * 3 * PATIENCE).diverged


@given(st.lists(st.floats(0.01, 10.0), min_size=1, max_size=60))
def test_a_loss_that_never_rises_above_its_start_is_well(losses: list[float]) -> None:
    assert not fed(*[10.0] * FIRST, *losses).diverged


def test_the_same_look_again_is_no_news() -> None:
    guard = fed(*[2.3] * FIRST)
    for _ in range(5 * PATIENCE):
        guard.see(50.0)
    assert not guard.diverged


def test_nothing_known_is_nothing_wrong() -> None:
    guard = fed(None, math.nan)
    assert math.isinf(guard.limit)
    assert not guard.diverged
