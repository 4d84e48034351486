"""A trial sees to its processes: who is struck, who is started again, and that all end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ray_easgd.peers.contenders import Contender, OnGrowth, OnLoss
from ray_easgd.peers.rows import Steps, row_of
from ray_easgd.peers.trial import OWN_PYTHON, Growth, Here, Outcome, Plan, Strike, Trial
from ray_easgd.peers.workload import Workload
from ray_easgd.processes import is_alive

pytestmark = pytest.mark.chaos

LAST = Plan(seconds=4.0, strikes=[Strike(at_s=1.0)], limit_s=60.0)


def outcome_of(
    folder: Path,
    plan: Plan,
    *,
    on_loss: OnLoss = "all",
    on_growth: OnGrowth = "all",
    samples: int | None = None,
    **options: Any,
) -> Outcome:
    contender = Contender(
        name="fake",
        program="tests.peers_program",
        on_loss=on_loss,
        on_growth=on_growth,
        options=options,
    )
    root = str(Path(__file__).parents[1])
    return Trial(
        contender,
        Workload(samples=samples, batch_size=10),
        plan,
        folder=folder,
        python=OWN_PYTHON,
        environment=dict(os.environ) | {"PYTHONPATH": root},
        place=Here(),
    ).run()


def lives(outcome: Outcome) -> dict[str, int]:
    """How many processes have stepped, worker by worker."""
    known = Steps(outcome.entries).lives
    return {who: sum(name == who for name, _ in known) for who, _ in known}


def test_workers_that_share_the_samples_end_by_themselves(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, Plan(limit_s=60.0), samples=400)
    assert outcome.reason is None
    assert lives(outcome) == {"worker-0": 1, "worker-1": 1}
    last = {entry.who: entry.values["samples"] for entry in outcome.entries["step"]}
    assert last == {"worker-0": 200, "worker-1": 200}


def test_a_window_ends_a_trial_and_all_that_it_has_started(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, Plan(seconds=0.5, limit_s=60.0), also=True)
    children = [entry.values["pid"] for entry in outcome.entries["child"]]
    assert len(children) == 2
    assert not list(filter(is_alive, children))


def test_all_go_on_from_the_newest_snapshot_where_one_is_lost(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, LAST, on_loss="all")
    assert [struck.who for struck in outcome.struck] == ["worker-1"]
    assert lives(outcome) == {"worker-0": 2, "worker-1": 2}
    assert outcome.order.resume == "weights"
    assert outcome.order.resume_step > 0
    row = row_of(outcome, [], scene="d", target=1.0)
    assert row["rejoin_s"] > 0
    assert row["stall_s"] > 0
    assert 0 < row["goodput"] < 1


def test_the_others_train_on_where_one_is_started_again(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, LAST, on_loss="one", also=True)
    assert lives(outcome) == {"worker-0": 1, "worker-1": 2}
    assert outcome.order.resume is None
    children = [entry.values["pid"] for entry in outcome.entries["child"]]
    assert len(children) == 3
    assert not list(filter(is_alive, children)), "of the one who was killed neither"


@pytest.mark.parametrize("on_growth", ["all", "more"])
def test_more_workers_come_in_mid_trial(tmp_path: Path, on_growth: OnGrowth) -> None:
    plan = Plan(seconds=4.0, growth=Growth(at_s=1.0, to=3), limit_s=60.0)
    outcome = outcome_of(tmp_path, plan, on_growth=on_growth)
    of_the_first = 2 if on_growth == "all" else 1
    assert lives(outcome) == {"worker-0": of_the_first, "worker-1": of_the_first, "worker-2": 1}
    row = row_of(outcome, [], scene="f", target=1.0)
    assert row["rejoin_s"] > 0
    assert row["goodput"] > 0


def test_who_falls_over_undisturbed_has_a_reason_with_its_last_words(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, Plan(limit_s=60.0), fails=True)
    assert outcome.reason is not None
    assert "it falls over" in outcome.reason


def test_a_trial_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, Plan(limit_s=1.0))
    assert outcome.reason == "not done after 1 s"
