"""The table of series: what each is computed from, and that board and alerts name no other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from ray_easgd.dashboard import ALERTS, BOARD
from ray_easgd.dashboard.board import as_json, panels, query
from ray_easgd.fleet import FleetMachine
from ray_easgd.series import SERIES, points
from ray_easgd.vitals import STATES, Child, Recent, Stretch, Vitals

NAMES = {series.name for series in SERIES}


def shown(stretch: Stretch) -> dict[str | tuple[str, str], float]:
    """Each value by its series' name, and tag where it has one."""
    return {(p.series.name, p.tag) if p.tag else p.series.name: p.value for p in points(stretch)}


def fleet(steps: int = 0, **stopped: int) -> dict[str, Child]:
    """Three workers under two aggregators, ``stopped`` ones at another number of steps."""
    workers = {
        f"worker-{k}.1": Child(
            level=1,
            is_training=True,
            steps=stopped.get(f"worker_{k}", steps),
            exchanges=steps // 4,
            exchange_s=steps / 40,
            bytes_sent=steps,
            staleness=float(k),
        )
        for k in range(3)
    }
    return workers | {f"hub-{k}": Child(level=0, exchanges=steps // 8) for k in range(2)}


def test_each_series_is_computed_from_what_the_run_is_and_was() -> None:
    before = Vitals(version=10, samples=100, children=fleet(100))
    now = Vitals(
        version=30,
        epoch=1,
        samples=1_100,
        samples_repeated=100,
        useful_steps=540,
        children=fleet(200),
        states=Counter(training=3, waiting=1),
        wanted=4,
        loss=0.5,
        worker_s=7200.0,
        price_per_hour=1.5,
    )
    recent = Recent()
    recent.take(0.0, before)
    values = shown(recent.take(10.0, now))
    assert values["center_version"] == 30
    assert values["center_pushes_per_s"] == 2.0
    assert values["samples_per_s"] == 100.0
    assert values["exchanges_per_s", "1"] == 7.5
    assert values["exchange_s", "1"] == pytest.approx(0.1)
    assert values["sent_bytes_per_s", "1"] == 30.0
    assert values["staleness", "1"] == 1.0
    assert values["workers", "training"] == 3
    assert values["workers", "lost"] == 0
    assert values["median_steps_per_s"] == values["slowest_steps_per_s"] == 10.0
    assert values["steps_paid"] == 600
    assert values["goodput"] == 0.9
    assert values["cost"] == 3.0


def test_what_is_not_known_is_not_shown() -> None:
    values = shown(Recent().take(0.0, Vitals(children={"worker-0.1": Child(level=0)})))
    assert values["center_version"] == 0
    absent = {"loss", "val_accuracy", "cost", "samples_per_s", ("distance", "0"), "goodput"}
    assert not absent & values.keys()


def test_a_worker_that_is_stopped_has_the_rate_zero() -> None:
    recent = Recent()
    for second in range(100):
        at = min(second, 20) * 10
        recent.take(second, Vitals(children=fleet(second * 10, worker_1=at)))
    values = shown(recent.take(100, Vitals(children=fleet(1_000, worker_1=200))))
    assert values["slowest_steps_per_s"] == 0.0
    assert values["median_steps_per_s"] == pytest.approx(10.0)


def test_a_center_that_goes_on_from_an_older_copy_has_no_rate_below_zero() -> None:
    stretch = Stretch(Vitals(version=90, samples=900), Vitals(version=80, samples=800), 5.0)
    assert shown(stretch)["center_pushes_per_s"] == shown(stretch)["samples_per_s"] == 0.0


def test_a_new_life_counts_from_its_birth_and_a_dead_one_no_longer() -> None:
    before = Vitals(children={"w.1": Child(level=0, bytes_sent=900)})
    children = {"w.1": Child(level=0, bytes_sent=900), "w.2": Child(level=0, bytes_sent=50)}
    assert shown(Stretch(before, Vitals(children=children), 10.0))["sent_bytes_per_s", "0"] == 5.0


def test_tags_are_bounded_whatever_happens_to_workers() -> None:
    lives = {f"worker-{k}.{life}": Child(level=0) for k in range(50) for life in range(9)}
    by_name = Counter(p.series.name for p in points(Stretch(Vitals(), Vitals(children=lives), 1.0)))
    assert max(by_name.values()) == len(STATES)


def test_lives_that_crash_alike_are_counted_until_one_works() -> None:
    machine = FleetMachine()
    for life in (1, 2):
        machine.note_loss(index=0, life=life, steps=0, error="out of memory")
    assert machine.crashes_in_a_row == 2
    machine.note_loss(index=0, life=3, steps=500, error="out of memory")
    assert machine.crashes_in_a_row == 0


# -- board and alerts ------------------------------------------------------------------------


def named(text: str) -> set[str]:
    """The series that a text of PromQL names, as the table does."""
    return set(re.findall(r"ray_easgd_(\w+)", text))


def expressions() -> list[str]:
    targets = [
        t
        for panel in json.loads(BOARD.read_text("utf-8"))["panels"]
        for t in panel.get("targets", ())
    ]
    return [target["expr"] for target in targets]


def rules() -> list[dict[str, Any]]:
    return [r for g in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for r in g["rules"]]


def test_the_board_that_is_shipped_is_the_one_that_is_written() -> None:
    assert BOARD.read_text("utf-8") == as_json(), "python -m ray_easgd.dashboard.board"


def test_each_series_has_a_panel_and_each_query_a_series() -> None:
    assert {name for panel in panels() for name in panel.names} == NAMES
    assert set().union(*map(named, expressions())) == NAMES
    assert expressions().count(query(SERIES[0])) == 1


def test_panels_neither_overlap_nor_share_a_number() -> None:
    shown = json.loads(BOARD.read_text("utf-8"))["panels"]
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in shown)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in shown}) == len(shown)


def test_alerts_name_series_that_exist_and_tags_that_they_have() -> None:
    assert {rule["alert"] for rule in rules()} == {
        *("EasgdNoExchange", "EasgdDiverging", "EasgdCrashLoop", "EasgdStraggler")
    }
    for rule in rules():
        assert named(rule["expr"]) <= NAMES
        assert set(re.findall(r'state="(\w+)"', rule["expr"])) <= set(STATES)


def test_the_page_on_monitoring_lists_each_series_with_its_meaning() -> None:
    page = (Path(__file__).parents[1] / "docs" / "monitoring.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", page, re.MULTILINE)
    told = [(s.exported, s.tag or "", s.unit, s.meaning) for s in SERIES]
    assert [tuple(cell.strip() for cell in row) for row in rows] == told


# -- the alerts themselves, by Prometheus' own judge -------------------------------------------

TRAINING = 'ray_easgd_workers{run="r", state="training"}'
VERSION = 'ray_easgd_center_version{run="r"}'
LOSS = 'ray_easgd_loss{run="r"}'
RESTARTS = 'ray_easgd_restarts{run="r"}'
CRASHES = 'ray_easgd_crashes_in_a_row{run="r"}'
SLOWEST = 'ray_easgd_slowest_steps_per_s{run="r"}'
MEDIAN = 'ray_easgd_median_steps_per_s{run="r"}'
FIRES: dict[str, list[dict[str, str]]] = {
    "EasgdNoExchange": [{TRAINING: "3x120", VERSION: "0+1x30 30x90"}],
    "EasgdDiverging": [
        {LOSS: "1x100 2x20"},
        {RESTARTS: "0x110 0+1x10"},
    ],
    "EasgdCrashLoop": [{CRASHES: "0x115 2 3 _ _"}],
    "EasgdStraggler": [{SLOWEST: "4x120", MEDIAN: "10x120"}],
}
SILENT: dict[str, list[dict[str, str]]] = {
    "EasgdNoExchange": [
        {TRAINING: "3x120", VERSION: "0+1x120"},
        {TRAINING: "0x120", VERSION: "0x120"},
        {TRAINING: "3x90 _x30", VERSION: "0+1x90 _x30"},  # the run has ended
    ],
    "EasgdDiverging": [
        {LOSS: "1-0.005x120", RESTARTS: "0x120"},
        {LOSS: "-1-1x120"},
        {RESTARTS: "0x60 1x60"},
    ],
    "EasgdCrashLoop": [{CRASHES: "0x60 1x20 0x40"}],
    "EasgdStraggler": [{SLOWEST: "6x120", MEDIAN: "10x120"}, {SLOWEST: "1x1", MEDIAN: "10x120"}],
}


CASES = [
    pytest.param(alert, series, fires, id=f"{alert}-{'fires' if fires else 'is silent'}-{k}")
    for cases, fires in ((FIRES, True), (SILENT, False))
    for alert, several in cases.items()
    for k, series in enumerate(several)
]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")
@pytest.mark.parametrize(("alert", "series", "fires"), CASES)
def test_an_alert_fires_when_it_should_and_only_then(
    alert: str, series: dict[str, str], fires: bool, tmp_path: Path
) -> None:
    """After two hours of these values, one a minute."""
    labels = f'alertname="{alert}", alertstate="firing", run="r"'
    asked = f'max without (severity) (ALERTS{{alertname="{alert}", alertstate="firing"}})'
    expected = [{"labels": f"{{{labels}}}", "value": 1}] if fires else []
    trial = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": asked, "eval_time": "2h", "exp_samples": expected}],
    }
    path = tmp_path / "trial.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [trial]}), "utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
