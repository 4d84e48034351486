"""The peers' parts that need no processes: the work, the numbers, who takes part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.peers.our_loop import _local_step
from actors.peers.ours import center_of, config_of
from ray_easgd.errors import Unavailable
from ray_easgd.journal import Entry
from ray_easgd.peers.contenders import CONTENDERS, NAMES, Contender
from ray_easgd.peers.environments import python_of
from ray_easgd.peers.hivemind_peer import others, tell
from ray_easgd.peers.page import write_page
from ray_easgd.peers.rows import Score, empty_row, medians, row_of
from ray_easgd.peers.scenes import losses, paced, scene_of
from ray_easgd.peers.trial import Growth, Outcome, Struck
from ray_easgd.peers.workload import Order, Workload

RATE, BATCH = 100.0, 10  # samples a second of each worker, a step of ten every 0.1 s
BEGAN = 1000.0


class Positions:
    """A split that gives its positions as they are."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, positions: np.ndarray) -> tuple[Any, Any]:
        return positions, positions

    def order(self, seed: int, epoch: int) -> Any:
        shuffled = np.random.default_rng((seed, epoch)).permutation(self.count)

        class Order:
            @staticmethod
            def positions(start: int, stop: int) -> np.ndarray:
                return shuffled[start:stop]

        return Order


def steps(who: str, pid: int, begin: float, end: float, *, clock: int = 0) -> list[Entry]:
    """A life that steps evenly between two seconds after the command."""
    count = round((end - begin) * RATE / BATCH)
    return [
        Entry(
            who,
            pid,
            "step",
            BEGAN + begin + k * BATCH / RATE,
            {"clock": clock + k + 1, "samples": (k + 1) * BATCH},
        )
        for k in range(count)
    ]


def outcome(lives: Sequence[list[Entry]], **changes: Any) -> Outcome:
    known: dict[str, Any] = {
        "contender": Contender(name="peer", program="none"),
        "order": Order(workload=Workload(batch_size=BATCH), folder="", began_at=BEGAN, port=0),
        "entries": {"step": [entry for life in lives for entry in life]},
        "began_at": BEGAN,
        "ended_at": BEGAN + 40.0,
        "struck": (),
        "grown_at": None,
        "peak_memory_bytes": 2**20,
        "bytes_between": None,
        "reason": None,
    }
    return Outcome(**(known | changes))


def row(found: Outcome, tested: Sequence[Score] = ()) -> dict[str, Any]:
    return row_of(found, tested, scene="a", target=0.5)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_each_sample_of_an_epoch_goes_to_one_worker(workers: int) -> None:
    work = Workload(batch_size=4, samples=48 * 2)
    split: Any = Positions(48)
    seen = [[inputs for inputs, _ in work.batches(split, rank, workers)] for rank in range(workers)]
    assert {len(batches) for batches in seen} == {24 // workers}
    first_epoch = np.concatenate([batch for batches in seen for batch in batches[: 12 // workers]])
    assert sorted(first_epoch) == list(range(48))


def test_a_worker_that_is_started_again_goes_on_with_its_own_batches() -> None:
    work, split = Workload(batch_size=4, samples=96), Positions(50)
    whole = [list(b) for b, _ in work.batches(split, 1, 2)]
    rest = [list(b) for b, _ in work.batches(split, 1, 2, begin=5)]
    assert rest == whole[5:]


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    order = Order(
        workload=Workload(pauses_s=(0.0, 0.5)),
        folder="f",
        began_at=1.5,
        port=7,
        hosts=({"namespace": "n", "address": "192.0.2.1"},),
    )
    order.write(tmp_path / "order.json")
    assert Order.read(str(tmp_path / "order.json")) == order
    assert order.address(0) == "192.0.2.1"


def test_speed_counts_from_the_last_ones_first_step() -> None:
    found = row(outcome([steps("worker-0", 1, 5, 40), steps("worker-1", 2, 10, 40)]))
    assert found["first_step_s"] == pytest.approx(5.0)
    assert found["all_stepped_s"] == pytest.approx(10.0)
    assert found["samples_per_s"] == pytest.approx(2 * RATE, rel=0.02)
    assert found["worker_samples_per_s"] == pytest.approx([RATE, RATE], rel=0.02)


def test_the_target_is_reached_by_the_first_weights_that_pass_it() -> None:
    tested = [Score(at=BEGAN + t, accuracy=a) for t, a in ((8, 0.3), (15, 0.6), (40, 0.4))]
    found = row(outcome([steps("worker-0", 1, 5, 40)]), tested)
    assert found["time_to_target_s"] == 15.0
    assert found["training_to_target_s"] == 10.0
    assert found["samples_to_target"] == pytest.approx(10 * RATE, rel=0.02)
    assert found["final_accuracy"] == 0.4


def test_nobody_stalls_where_the_others_train_on() -> None:
    lives = [
        steps("worker-0", 1, 0, 40),
        steps("worker-1", 2, 0, 20),
        steps("worker-1", 3, 25, 40),
    ]
    alone = Contender(name="p", program="none", on_loss="itself", rolls_back=False)
    found = row(outcome(lives, contender=alone, struck=[Struck(at=BEGAN + 20, who="worker-1")]))
    assert found["stall_s"] == pytest.approx(0.1, abs=0.02)
    assert found["rejoin_s"] == pytest.approx(5.0)
    assert found["goodput"] == pytest.approx(75 / 80, rel=0.02)


def test_steps_that_are_taken_again_are_no_goodput() -> None:
    """All go on at 28 s from what there was at 15 s."""
    lives = [
        *(steps(f"worker-{k}", k, 0, 20) for k in range(2)),
        *(steps(f"worker-{k}", k + 9, 28, 40, clock=150) for k in range(2)),
    ]
    found = row(outcome(lives, struck=[Struck(at=BEGAN + 20, who="worker-1")]))
    assert found["stall_s"] == pytest.approx(8.0, abs=0.2)
    assert found["rejoin_s"] == pytest.approx(8.0)
    assert found["goodput"] == pytest.approx((15 + 12) / 40, rel=0.03)


def test_each_of_several_losses_is_followed_to_the_next() -> None:
    lives = [
        *(steps("worker-0", 1, 0, 20), steps("worker-0", 2, 28, 40)),
        *(steps("worker-1", 3, 0, 10), steps("worker-1", 4, 14, 40)),
    ]
    alone = Contender(name="p", program="none", on_loss="itself", rolls_back=False)
    struck = [Struck(at=BEGAN + 10, who="worker-1"), Struck(at=BEGAN + 20, who="worker-0")]
    found = row(outcome(lives, contender=alone, struck=struck))
    assert found["stall_s"] == pytest.approx(0.1, abs=0.02)
    assert found["rejoin_s"] == pytest.approx((4 + 8) / 2)
    assert found["goodput"] == pytest.approx((80 - 4 - 8) / 80, rel=0.03)


def test_losses_come_once_a_minute_on_average_and_are_the_same_for_all() -> None:
    strikes = losses(60_000.0, 2)
    assert len(strikes) == pytest.approx(1000, rel=0.1)
    assert {strike.rank for strike in strikes} == {0, 1}
    assert [s.at_s for s in strikes] == sorted(s.at_s for s in strikes)
    assert losses(60_000.0, 2) == strikes


def test_bytes_are_told_by_the_sample() -> None:
    found = row(outcome([steps("worker-0", 1, 0, 40)], bytes_between=12_000))
    assert found["bytes_per_sample"] == pytest.approx(3.0, rel=0.02)


def test_who_took_no_step_has_a_reason() -> None:
    assert row(outcome([]))["reason"] == "nobody took a step"


def test_a_median_is_over_what_was_measured() -> None:
    rows = [row(outcome([steps("worker-0", 1, t, 40)])) for t in (1, 2, 9)]
    rows.append(row(outcome([], reason="it fell over")))
    (summary,) = medians(rows)
    assert summary["first_step_s"] == pytest.approx(2.0)
    assert (summary["runs"], summary["reason"]) == (4, "it fell over")
    assert summary["rejoin_s"] is None


def test_a_page_shows_every_peer(tmp_path: Path) -> None:
    rows = medians([row(outcome([steps("worker-0", 1, 1, 40)])), empty_row("<absent>", "a", 0)])
    told = {"scene": "a", "rows": [], "medians": rows, "date": "today", "link": None}
    picture, page = write_page(told, tmp_path)
    assert Path(picture).stat().st_size > 1000
    text = Path(page).read_text("utf-8")
    assert "<th>peer" in text
    assert "&lt;absent&gt;" in text


def test_a_fleet_that_grows_by_itself_loses_nothing() -> None:
    """Two more join at 25 s, five after they were asked for; all have stepped by then."""
    lives = [
        *(steps(f"worker-{k}", k, 0, 40) for k in range(2)),
        *(steps(f"worker-{k}", k, 25, 40) for k in range(2, 4)),
    ]
    alone = Contender(name="p", program="none", on_loss="itself", rolls_back=False)
    found = row(outcome(lives, contender=alone, grown_at=BEGAN + 20, order=order_of(4)))
    assert found["stall_s"] == pytest.approx(0.1, abs=0.02)
    assert found["rejoin_s"] == pytest.approx(5.0)
    assert found["goodput"] == pytest.approx((40 + 40 + 2 * 15) / (40 + 80), rel=0.03)


def test_a_fleet_that_starts_again_to_grow_loses_what_it_takes() -> None:
    """All four begin at 28 s with what there was at 15 s."""
    lives = [
        *(steps(f"worker-{k}", k, 0, 20) for k in range(2)),
        *(steps(f"worker-{k}", k + 9, 28, 40, clock=150) for k in range(4)),
    ]
    found = row(outcome(lives, grown_at=BEGAN + 20, order=order_of(4)))
    assert found["stall_s"] == pytest.approx(8.0, abs=0.2)
    assert found["rejoin_s"] == pytest.approx(8.0)
    assert found["goodput"] == pytest.approx((2 * 15 + 4 * 12) / (40 + 80), rel=0.03)


def order_of(num_workers: int) -> Order:
    """Of a fleet that began with two."""
    work = Workload(batch_size=BATCH)
    return Order(workload=work, folder="", began_at=BEGAN, port=0, num_workers=num_workers)


def test_a_scene_sets_its_workers_pace_by_the_pair() -> None:
    work = Workload(batch_size=10)
    pauses = {name: paced(name, work, 100.0).pauses_s for name in "acf"}
    assert pauses["a"] == work.pauses_s
    assert pauses["c"] == pytest.approx((0.0, 0.2))
    assert pauses["f"] == pytest.approx((0.2,))
    assert scene_of("f", work, seconds=None).plan.growth == Growth(at_s=30.0, to=4)


def test_all_contenders_have_names_of_their_own_and_the_same_period() -> None:
    assert len(NAMES) == len(set(NAMES))
    work = Workload(period=5)
    ours = [
        config_of(Order(workload=work, folder="f", began_at=BEGAN, port=0, options=c.options))
        for c in CONTENDERS
        if "config" in c.options
    ]
    assert {c.algorithm.period for c in ours if not c.topology.levels} == {work.period}
    assert any(c.topology.levels for c in ours)


@pytest.mark.parametrize(
    ("options", "lr"),
    [
        ({"config": {"algorithm": {"name": "eamsgd"}}, "step": "nesterov"}, 0.03),
        ({"config": {"algorithm": {"name": "diloco_async"}}, "step": "nesterov"}, 0.02),
        ({"config": {"algorithm": {"name": "easgd"}}, "step": "sgd", "lr": 0.1}, 0.1),
    ],
)
def test_our_rate_is_that_of_all_over_our_pace_unless_one_is_given(
    options: dict[str, Any], lr: float
) -> None:
    order = Order(workload=Workload(), folder="", began_at=BEGAN, port=0, options=options)
    step: Any = _local_step(order, torch.nn.Linear(2, 1))
    assert step.lr == pytest.approx(lr)


def test_who_cannot_be_installed_is_unavailable_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_EASGD_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr("shutil.which", lambda tool: None)
    with pytest.raises(Unavailable, match="there is no uv"):
        python_of("torchft", lambda line: None)


@pytest.mark.parametrize(
    ("actors", "center"),
    [
        ({}, None),
        ({"ours:center": ("ALIVE", 1), "ours:worker-0": ("ALIVE", 5)}, 1),
        ({"ours:center.2": ("ALIVE", 2), "ours:center": ("ALIVE", 1)}, 1),
        (
            {
                "ours:center": ("DEAD", 1),
                "ours:center.3": ("ALIVE", 3),
                "ours:center.2": ("ALIVE", 2),
            },
            2,
        ),
        ({"ours:center-1": ("ALIVE", 4), "ours:center": ("DEAD", 1)}, None),
    ],
)
def test_who_stands_by_is_not_taken_for_the_center(
    actors: dict[str, tuple[str, int]], center: int | None
) -> None:
    rows = [{"Name": name, "State": state, "Pid": pid} for name, (state, pid) in actors.items()]
    assert center_of(rows) == center


def test_a_peer_of_hivemind_meets_those_who_are_there_and_never_its_own_last_life(
    tmp_path: Path,
) -> None:
    first = Order(workload=Workload(), folder=str(tmp_path), began_at=BEGAN, port=0)
    assert others(first, 0) is None, "somebody has to begin"
    tell(first, 0, ["zero"])
    assert others(first, 1) == ["zero"]
    tell(first, 1, ["one"])
    again = replace(first, lives=2)
    assert others(again, 0) == ["one"]
    assert others(again, 1) == ["zero"]
    assert sorted(others(again, 2) or ()) == ["one", "zero"]
