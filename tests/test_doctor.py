"""What the doctor says of evidence: the right cause, with its numbers; nothing of the healthy."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from ray_easgd.doctor import Diagnosis, Evidence, Finding, diagnose
from ray_easgd.doctor.evidence import (
    ChildLook,
    EdgeLook,
    HubLook,
    Look,
    NodeLook,
    ProcessLook,
    WorkerLook,
)
from ray_easgd.doctor.finding import Cause
from ray_easgd.strict_json import dumps

SECONDS = 5.0
WORKERS = ("worker-0", "worker-1", "worker-2")
N = 2_700_000


def child(name: str, steps: int, **changes: Any) -> ChildLook:
    hub = "center" if name.startswith("aggregator") else "aggregator-1-0"
    far = hub == "center"
    edge = EdgeLook(hub=hub, in_memory=not far, pull_s=0.03 if far else math.nan, push_s=0.02)
    told = ChildLook(
        name=name,
        clock=steps,
        exchanges=steps // 16,
        exchanges_late=0,
        bytes_sent=steps // 16 * 4 * N,
        bytes_received=steps // 16 * 4 * N,
        doing="train.py:12 in loop",
        edges=(edge,),
    )
    return replace(told, **changes)


def worker(name: str, steps: int, **changes: Any) -> WorkerLook:
    told = WorkerLook(
        name=name,
        step=steps,
        steps_per_s=60.0,
        exchanges=steps // 16,
        loss=0.5,
        distance=2.0,
        staleness=3.0,
    )
    return replace(told, **changes)


def process(name: str, pid: int, node: str = "b", **changes: Any) -> ProcessLook:
    kinds: dict[str, Any] = {"center": "hub", "aggregator": "hub", "controller": "controller"}
    kind = kinds.get(name.split("-")[0], "worker")
    return replace(
        ProcessLook(name=name, kind=kind, seat=name, pid=pid, node=node, age_s=500.0), **changes
    )


def look(steps: int) -> Look:
    """Three workers under an aggregator on one node, the center on another."""
    return Look(
        workers=tuple(worker(name, steps) for name in WORKERS),
        children=(
            *(child(name, steps) for name in WORKERS),
            child("aggregator-1-0", 3 * steps // 16),
        ),
        hubs=(
            HubLook(name="center", version=steps, num_parameters=N),
            HubLook(name="aggregator-1-0", version=steps, num_parameters=N, sharing=3),
        ),
        processes=(
            process("controller", 1, "a"),
            process("center", 2, "a"),
            process("aggregator-1-0", 3),
            *(process(name, 10 + k) for k, name in enumerate(WORKERS)),
        ),
        nodes=tuple(
            NodeLook(
                id=name,
                address=f"10.0.0.{k}",
                total={"CPU": 4.0},
                free={"CPU": 1.0},
                store_bytes=9_000_000_000,
                store_in="/dev/shm",
                shm_bytes=16_000_000_000,
                load=3.0,
                cores=4,
            )
            for k, name in enumerate("ab", 1)
        ),
    )


HEALTHY = Evidence(run="r", interval_s=SECONDS, first=look(1600), second=look(1900))


def changed(what: str, name: str, evidence: Evidence = HEALTHY, **changes: Any) -> Evidence:
    """The evidence with one thing of the second look another."""
    things = tuple(
        replace(one, **changes)
        if name in (getattr(one, "name", ""), getattr(one, "id", ""))
        else one
        for one in getattr(evidence.second, what)
    )
    return replace(evidence, second=replace(evidence.second, **{what: things}))


def only(evidence: Evidence) -> Finding:
    found = diagnose(evidence)
    assert len(found) == 1, found
    return found[0]


def silent(name: str, state: str, evidence: Evidence) -> Evidence:
    """It has not answered at the second look, and the machine says why."""
    pid = next(p.pid for p in evidence.second.processes if p.name == name)
    node = next(p.node for p in evidence.second.processes if p.name == name)
    asked = changed("processes", name, evidence, unanswered_s=8.0)
    told = tuple(one for one in asked.second.children if one.name != name)
    heard = replace(asked, second=replace(asked.second, children=told))
    return changed("nodes", node, heard, processes={pid: state} if state else {})


def test_nothing_is_wrong_with_a_healthy_run() -> None:
    assert diagnose(HEALTHY) == []
    lines = Diagnosis.of(HEALTHY).as_lines()
    assert lines[-1] == "nothing wrong found"
    assert "worker-0 300, worker-1 300, worker-2 300" in lines[0]


def test_a_stopped_worker_is_told_by_its_machine() -> None:
    asleep = changed("workers", "worker-2", step=1600)
    found = only(silent("worker-2", "stopped (SIGSTOP)", asleep))
    assert (found.cause, found.subject) == ("worker_stopped", "worker-2")
    assert "worker-2 took 0 steps in 5.0 s" in found.evidence
    assert "worker-0 300, worker-1 300" in found.evidence
    assert "process 12 on node 10.0.0.2 has not answered for 8.0 s" in found.evidence
    assert "stopped (SIGSTOP)" in found.evidence
    assert "kill -CONT 12" in found.remedy


def test_a_silent_worker_on_a_silent_node_is_cut_off() -> None:
    asleep = changed("workers", "worker-2", step=1600)
    cut_off = changed("nodes", "b", silent("worker-2", "", asleep), is_reachable=False)
    found = only(cut_off)
    assert "nor does the node" in found.evidence
    assert "kill" not in found.remedy


def test_who_waits_for_a_stopped_worker_is_no_cause() -> None:
    evidence = HEALTHY
    for name in WORKERS:
        evidence = changed("children", name, evidence, waits=True, clock=1600)
        evidence = changed("workers", name, evidence, step=1600)
    found = only(silent("worker-1", "stopped (SIGSTOP)", evidence))
    assert found.subject == "worker-1"
    assert "worker-0, worker-2 wait for it" in found.evidence


def test_a_loop_that_hangs_is_told_with_its_place() -> None:
    evidence = changed("children", "worker-1", clock=1600, doing="data.py:7 in read")
    found = only(evidence)
    assert (found.cause, found.subject) == ("worker_stuck", "worker-1")
    assert "data.py:7 in read" in found.evidence
    assert "300 are usual" in found.evidence
    assert "--pid 11" in found.remedy


def test_no_step_of_a_worker_that_steps_rarely_is_no_finding() -> None:
    evidence = changed("children", "worker-1", clock=1600)
    assert diagnose(changed("workers", "worker-1", evidence, steps_per_s=0.1)) == []


def test_a_slow_worker_is_told_by_the_others_pace() -> None:
    evidence = changed("children", "worker-0", clock=1620)
    found = only(changed("nodes", "b", evidence, load=19.0))
    assert (found.cause, found.subject) == ("worker_slow", "worker-0")
    assert "took 20 steps in 5.0 s, the others 300" in found.evidence
    assert "load 19.0 on 4 cores" in found.evidence


def test_a_worker_that_died_is_told_with_rays_reason() -> None:
    gone = process("worker-2", 12, state="dead", death="killed by the memory monitor")
    again = process("worker-2.2", 40, seat="worker-2", age_s=2.0)
    rest = [p for p in HEALTHY.second.processes if p.name != "worker-2"]
    second = replace(HEALTHY.second, processes=(*rest, gone, again))
    found = only(replace(HEALTHY, second=second))
    assert (found.cause, found.subject) == ("worker_lost", "worker-2")
    assert "memory monitor" in found.evidence
    wished = replace(second, processes=(*rest, replace(gone, death=""), again))
    assert diagnose(replace(HEALTHY, second=wished)) == []


def test_a_worker_that_never_begins_is_told_with_its_place() -> None:
    rest: dict[str, Any] = {
        "workers": tuple(w for w in HEALTHY.second.workers if w.name != "worker-2"),
        "children": (
            *(c for c in HEALTHY.second.children if c.name != "worker-2"),
            child("worker-2", 0, doing="download.py:3 in fetch"),
        ),
    }
    found = only(replace(HEALTHY, second=replace(HEALTHY.second, **rest)))
    assert (found.cause, found.subject) == ("worker_starting", "worker-2")
    assert "500 s" in found.evidence
    assert "download.py:3" in found.evidence


def test_a_dead_aggregator_is_told_with_those_below_it() -> None:
    found = only(changed("processes", "aggregator-1-0", state="dead", death="killed"))
    assert (found.cause, found.subject) == ("hub_dead", "aggregator-1-0")
    assert "worker-0, worker-1, worker-2 step on" in found.evidence


def test_a_dead_hub_with_a_successor_is_no_finding() -> None:
    evidence = changed("processes", "aggregator-1-0", state="dead")
    there = (*evidence.second.processes, process("aggregator-1-0.2", 9, seat="aggregator-1-0"))
    assert diagnose(replace(evidence, second=replace(evidence.second, processes=there))) == []


def test_a_stopped_center_is_told_and_the_links_to_it_are_not() -> None:
    evidence = silent("center", "stopped (SIGSTOP)", HEALTHY)
    slow = EdgeLook(hub="center", pull_s=0.03, pulling_for_s=12.0)
    found = only(changed("children", "aggregator-1-0", evidence, edges=(slow,)))
    assert (found.cause, found.subject) == ("hub_stopped", "center")
    assert "stopped (SIGSTOP). Exchanges of aggregator-1-0 wait for it" in found.evidence


def test_a_stopped_controller_is_told() -> None:
    found = only(silent("controller", "stopped (SIGSTOP)", HEALTHY))
    assert (found.cause, found.subject) == ("controller_stopped", "controller")
    assert "process 1 on node 10.0.0.1" in found.evidence


def slow_edge(name: str, evidence: Evidence = HEALTHY, pull_s: float = 1.8) -> Evidence:
    """To the center, and two of its three exchanges late."""
    edge = EdgeLook(hub="center", pull_s=pull_s, push_s=0.9)
    was = next(one for one in evidence.first.children if one.name == name)
    counts = {"exchanges": was.exchanges + 3, "exchanges_late": was.exchanges_late + 2}
    return changed("children", name, evidence, edges=(edge,), **counts)


def test_a_slow_link_is_told_with_its_rate_and_both_ends() -> None:
    found = only(slow_edge("aggregator-1-0"))
    assert (found.cause, found.subject) == ("link_slow", "aggregator-1-0 - center")
    assert "on node 10.0.0.2 and center on node 10.0.0.1" in found.evidence
    assert "took 1.8 s" in found.evidence
    assert "2 of 3 exchanges came late" in found.evidence
    assert "Mbit/s" in found.evidence


def test_a_link_that_is_slow_for_all_is_the_hubs() -> None:
    extra = child("aggregator-1-1", 356)
    both = replace(
        HEALTHY,
        first=replace(HEALTHY.first, children=(*HEALTHY.first.children, extra)),
        second=replace(
            HEALTHY.second,
            children=(*HEALTHY.second.children, extra),
            processes=(*HEALTHY.second.processes, process("aggregator-1-1", 4)),
        ),
    )
    found = only(slow_edge("aggregator-1-1", slow_edge("aggregator-1-0", both)))
    assert found.subject == "center - all of its children"
    assert diagnose(slow_edge("aggregator-1-1", both))[0].subject == "aggregator-1-1 - center"


def test_a_message_that_does_not_arrive_is_told_before_it_has() -> None:
    edge = EdgeLook(hub="center", pull_s=0.03, pulling_for_s=4.0)
    found = only(changed("children", "aggregator-1-0", edges=(edge,)))
    assert found.cause == "link_slow"
    assert "has been under way for 4 s" in found.evidence


@pytest.mark.parametrize(("pull_s", "late"), [(0.03, True), (1.8, False)])
def test_late_exchanges_or_long_ones_alone_are_no_finding(pull_s: float, *, late: bool) -> None:
    evidence = slow_edge("aggregator-1-0", pull_s=pull_s)
    edge = EdgeLook(hub="center", pull_s=pull_s, push_s=0.02)
    counts = {} if late else {"exchanges_late": 0}
    assert diagnose(changed("children", "aggregator-1-0", evidence, edges=(edge,), **counts)) == []


def test_a_vector_too_large_for_its_period_is_no_slow_link() -> None:
    evidence = slow_edge("aggregator-1-0")
    was = next(one for one in evidence.second.children if one.name == "aggregator-1-0")
    large = 400_000_000 * was.exchanges
    found = only(changed("children", was.name, evidence, bytes_received=large))
    assert (found.cause, found.subject) == ("exchanges_late", "aggregator-1-0")
    assert "400 MB" in found.evidence


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"restarts": 3}, "began again from the center 3 times"),
        ({"distance": 9.0, "loss": 1.5}, "from 2 to 9 and its loss from 0.5 to 1.5"),
        ({"distance": math.inf}, "distance of inf"),
        ({"distance": 21.0, "loss": 0.6}, "from 2 to 21"),
        ({"loss": math.nan}, "a loss of nan"),
    ],
)
def test_a_diverging_worker_is_told(changes: dict[str, Any], said: str) -> None:
    found = only(changed("workers", "worker-1", **changes))
    assert (found.cause, found.subject) == ("diverging", "worker-1")
    assert said in found.evidence
    assert "optimizer.lr" in found.remedy


def test_a_worker_that_drifts_while_it_learns_is_no_finding() -> None:
    assert diagnose(changed("workers", "worker-1", distance=9.0, loss=0.3)) == []
    young = replace(
        HEALTHY,
        first=replace(
            HEALTHY.first, workers=tuple(replace(w, exchanges=2) for w in HEALTHY.first.workers)
        ),
    )
    assert diagnose(changed("workers", "worker-1", young, distance=90.0, loss=0.6)) == []


def waiting(needs: dict[str, float]) -> Evidence:
    one = process("worker-3", 0, "", state="pending", needs=needs)
    return replace(
        HEALTHY,
        first=replace(HEALTHY.first, processes=(*HEALTHY.first.processes, one)),
        second=replace(HEALTHY.second, processes=(*HEALTHY.second.processes, one)),
    )


def test_a_worker_without_room_is_told_with_what_is_free() -> None:
    found = only(waiting({"CPU": 2.0}))
    assert (found.cause, found.subject) == ("no_resources", "worker-3")
    assert "each needs 2 CPU" in found.evidence
    assert "10.0.0.1 has 1 CPU free of 4 CPU" in found.evidence
    assert "No node could hold one" not in found.evidence
    assert "No node could hold one" in only(waiting({"GPU": 1.0})).evidence


def test_a_worker_that_is_about_to_start_is_no_finding() -> None:
    assert diagnose(waiting({"CPU": 1.0})) == []


def test_a_small_dev_shm_is_told_against_the_model() -> None:
    on_disk = changed("nodes", "b", shm_bytes=64_000_000, store_in="/tmp/ray")
    found = only(on_disk)
    assert (found.cause, found.subject) == ("shm_too_small", "node 10.0.0.2")
    assert "64 MB" in found.evidence
    assert "which is a disk" in found.evidence
    assert "--shm-size" in found.remedy
    short = only(changed("nodes", "a", store_bytes=30_000_000))
    assert "vectors of 10.8 MB on 1 message links there take up to 43.2 MB" in short.evidence


def test_a_store_elsewhere_by_choice_is_no_finding() -> None:
    assert diagnose(changed("nodes", "b", store_in="/mnt/huge")) == []
    assert diagnose(changed("nodes", "b", store_in="", shm_bytes=0)) == [], "nobody could look"


def test_a_hub_that_cannot_share_its_memory_is_told() -> None:
    why = "10800000 bytes are needed, 5000000 are free"
    found = only(changed("hubs", "aggregator-1-0", lacks_memory=why))
    assert (found.cause, found.subject) == ("memory_too_small", "aggregator-1-0")
    assert why in found.evidence


def test_the_page_has_every_cause() -> None:
    page = (Path(__file__).parents[1] / "docs" / "troubleshooting.md").read_text("utf-8")
    missing = [cause for cause in get_args(Cause) if f"| `{cause.replace('_', ' ')}` |" not in page]
    assert not missing


def test_the_command_prints_cause_evidence_and_what_to_do_next() -> None:
    diagnosis = Diagnosis.of(changed("workers", "worker-1", restarts=3))
    (found,) = diagnosis.findings
    lines = diagnosis.as_lines()
    assert "1. diverging: worker-1" in lines
    assert f"   {found.evidence}" in lines
    assert lines[-1] == f"   Next: {found.remedy}"
    record = diagnosis.as_dict()
    assert Diagnosis.from_dict(json.loads(dumps(record))) == diagnosis
    assert list(record["findings"]) == [
        {
            "cause": "diverging",
            "subject": "worker-1",
            "evidence": found.evidence,
            "remedy": found.remedy,
        }
    ]
