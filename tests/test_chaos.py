"""Chaos: real processes killed, and centers that are broken on purpose found out."""

from __future__ import annotations

from typing import Any

import pytest

from actors.center import Center
from actors.chaos import ChaosOptions, run_chaos
from ray_easgd.config import Config
from ray_easgd.errors import BadConfig
from ray_easgd.run_folder import RunFolder
from tests.center_mutants import AcceptsTheDead, AppliesOneTwice, DropsAPush

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.chaos,
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]


def chaos(storage: dict[str, Any], *kinds: str) -> dict[str, Any]:
    """Two workers on the shared cluster, their pushes through the object store."""
    config = Config.build(
        {
            "run": storage,
            "algorithm": {"name": "easgd"},
            "fleet": {"workers": 2, "spares": 0, "gpus_per_worker": 0, "steps_per_s": 25},
            "exchange": {"transport": "object_store"},
        }
    )
    options = ChaosOptions(kinds=kinds, rounds=1, compare=False, stop_s=1.0)
    said: list[str] = []
    verdict = run_chaos(config, options, tell=said.append)
    assert any(kinds[0] in line for line in said)
    return verdict


def broken(verdict: dict[str, Any]) -> set[str]:
    return {name for name, holds in verdict["invariants"].items() if not holds}


def test_a_sound_run_holds_under_faults(cluster: None, storage: dict[str, Any]) -> None:
    verdict = chaos(storage, "worker_kill", "worker_stop", "center_kill", "join", "leave")
    assert broken(verdict) == set(), verdict["findings"]
    faults = {kind: count for kind, count in verdict["faults"].items() if count}
    assert faults == dict.fromkeys(
        ("worker_kill", "worker_stop", "center_kill", "join", "leave"), 1
    )
    assert verdict["pushes_refused"] >= 1, "of the dead worker, late"
    assert verdict["pushes_doubled"] >= 1
    assert verdict["pushes_applied"] > 20
    record = RunFolder.open(verdict["path"]).read_result()
    assert record is not None
    assert record["status"] == "stopped", "on request, so that the same command goes on with it"
    assert verdict["ledger_gap"] < verdict["ledger_rounding"] < verdict["median_push_norm"] / 10


@pytest.mark.parametrize(
    ("mutant", "found"),
    [
        (DropsAPush, {"each_push_counts_once"}),
        pytest.param(
            AppliesOneTwice,
            {"each_push_counts_once", "doubles_are_dropped"},
            marks=pytest.mark.long,
        ),
        pytest.param(
            AcceptsTheDead,
            {"each_push_counts_once", "nothing_else_is_applied", "the_dead_are_refused"},
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_center_without_a_rule_is_found_out(
    mutant: type[Center],
    found: set[str],
    cluster: None,
    storage: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actors.center.Center", mutant)
    verdict = chaos(storage, "worker_kill")
    assert found <= broken(verdict)
    assert verdict["findings"]


@pytest.mark.parametrize(
    ("section", "values", "field"),
    [
        ("algorithm", {"name": "easgd_sync"}, "algorithm.name"),
        ("exchange", {"format": "int8"}, "exchange.format"),
        ("center", {"shards": 2}, "center.shards"),
        (
            "topology",
            {
                "levels": [
                    {"fan_out": 2, "period": 4},
                    {"fan_out": 2, "period": 1, "format": "int8"},
                ]
            },
            "topology.levels.1.format",
        ),
    ],
)
def test_what_the_audit_cannot_follow_is_refused(
    section: str, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadConfig) as caught:
        run_chaos(Config.build({section: values}), ChaosOptions(), tell=print)
    assert caught.value.field == field
