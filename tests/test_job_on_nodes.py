"""A tree submitted as a job to four nodes: one is drained by `ray drain-node`, one is cut off."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from actors.benchmark.namespaces import switched_hosts
from actors.benchmark.nodes import run_inside, short_folder
from tests.test_cut_off import ATTENTIVE, NEEDS_NAMESPACES

pytestmark = [pytest.mark.chaos, pytest.mark.long, *NEEDS_NAMESPACES, pytest.mark.timeout(900)]


def test_a_submitted_tree_ends_well_without_two_of_its_nodes() -> None:
    with short_folder("job") as folder, switched_hosts(4) as hosts:
        order = {"hosts": [asdict(host) for host in hosts], "folder": folder}
        settings = ATTENTIVE | {"RAY_AUTH_MODE": "disabled"}  # nobody else is on this wire
        told = run_inside(hosts[0], "tests.job_on_nodes", order, Path(folder), **settings)
    print({k: v for k, v in told.items() if k != "events"})  # noqa: T201
    for event in told["events"]:
        print(f"{event['time_s']:7.1f} {event['kind']:18} {event['message'][:120]}")  # noqa: T201
    assert told["state"] == "SUCCEEDED"
    kinds = [event["kind"] for event in told["events"]]
    assert "draining" in kinds
    assert "worker_left" in kinds
    assert "inherited" in kinds
    assert "worker_lost" in kinds
    assert told["metrics"]["ledger_error"] < 1e-5
    assert told["metrics"]["test_accuracy"] > 0.9
