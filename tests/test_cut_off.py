"""A node whose wire is pulled out, and put back in after everybody has gone on without it."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from actors.benchmark.namespaces import switched_hosts
from actors.benchmark.nodes import run_inside, short_folder

NEEDS_NAMESPACES = (
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(
        not (shutil.which("ip") and shutil.which("tc")), reason="ip and tc (iproute2) are missing"
    ),
)
pytestmark = [pytest.mark.chaos, pytest.mark.long, *NEEDS_NAMESPACES]

ATTENTIVE = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
}
"""docs/guarantees.md: how soon a node that is cut off is given up."""


def test_a_node_is_cut_off_and_healed_and_nobody_acts_for_the_dead() -> None:
    with short_folder("cut") as folder, switched_hosts(3) as hosts:
        order = {"hosts": [asdict(host) for host in hosts], "folder": folder, "seed": 3}
        told = run_inside(hosts[0], "tests.cut_off_driver", order, Path(folder), **ATTENTIVE)
    print(told)  # noqa: T201
    assert [incident["failed"] for incident in told["incidents"]] == [""]
    assert told["late"]
    assert set(told["late"]) == {"refused"}
    assert told["metrics"]["ledger_error"] < 1e-5
