"""What is read out of journals about the time around a fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_easgd.incidents import KINDS, Incident, aftermath, schedule
from ray_easgd.journal import Entry


def steps(who: str, pid: int, *moments: float) -> list[Entry]:
    """One step at each moment."""
    return [Entry(who, pid, "step", at, {"clock": k}) for k, at in enumerate(moments)]


def every(period_s: float, start: float, stop: float) -> list[float]:
    return [start + k * period_s for k in range(int((stop - start) / period_s))]


def incident(kind: str, at: float, cleared_at: float, *touched: tuple[str, int]) -> Incident:
    return Incident(
        kind=kind,
        victim="worker-0",
        at=at,
        cleared_at=cleared_at,
        back_at=cleared_at + 1.0,
        touched=frozenset(touched),
    )


@given(st.sets(st.sampled_from(KINDS), min_size=1), st.integers(1, 4), st.integers(0, 99))
def test_a_schedule_has_each_kind_once_a_round(kinds: set[str], rounds: int, seed: int) -> None:
    plan = schedule(sorted(kinds), rounds, seed)
    assert sorted(plan) == sorted(sorted(kinds) * rounds)
    if {"join", "leave"} <= kinds:
        present = 0
        for kind in plan:
            present += (kind == "join") - (kind == "leave")
            assert present in {0, 1}
    assert plan == schedule(sorted(kinds), rounds, seed)


def test_who_steps_on_has_not_waited() -> None:
    entries = steps("worker-1", 1, *every(0.1, -1.0, 30.0))
    found = aftermath(entries, [incident("worker_stop", 10.0, 20.0, ("worker-0", 0))])
    assert found.who_waited == ()
    assert found.step_rate_ratio == pytest.approx(1.0, rel=0.02)
    assert found.step_gap_ratio == pytest.approx(1.0, rel=0.02)


def test_who_stands_still_meanwhile_has_waited() -> None:
    moments = [*every(0.1, -1.0, 10.0), *every(0.1, 20.5, 30.0)]
    entries = steps("worker-1", 1, *moments)
    found = aftermath(entries, [incident("worker_stop", 10.0, 20.0)])
    assert found.who_waited == ("worker-1 took no step during worker_stop of worker-0",)
    assert found.step_rate_ratio == 0.0


def test_who_it_was_done_to_is_not_asked() -> None:
    moments = [*every(0.1, -1.0, 10.0), *every(0.1, 20.5, 30.0)]
    entries = steps("worker-0", 0, *moments)
    found = aftermath(entries, [incident("worker_stop", 10.0, 20.0, ("worker-0", 0))])
    assert found.who_waited == ()
    assert found.step_rate_ratio is None


def test_a_pause_in_mid_fault_shows_in_the_gap() -> None:
    moments = [*every(0.1, -1.0, 14.0), *every(0.1, 16.0, 30.0)]
    found = aftermath(
        steps("worker-1", 1, *moments), [incident("worker_stop", 10.0, 20.0, ("worker-0", 0))]
    )
    assert found.who_waited == ()
    assert found.step_gap_ratio == pytest.approx(21.0, rel=0.05)


def test_the_time_without_exchanges_is_that_around_the_centers_end() -> None:
    answers = [*every(0.5, 0.0, 10.0), *every(0.5, 13.0, 20.0)]
    entries = [Entry("worker-0", 0, "answered", at, {"hub": "center"}) for at in answers]
    found = aftermath(entries, [incident("center_kill", 9.7, 13.2)])
    assert found.exchange_gap_s == pytest.approx(3.5)


def test_a_replacements_first_step_is_timed_from_the_kill() -> None:
    found = aftermath([], [incident("worker_kill", 5.0, 7.5), incident("worker_kill", 20.0, 21.0)])
    assert found.replacement_first_step_s == pytest.approx(2.5), "the slower of the two"
