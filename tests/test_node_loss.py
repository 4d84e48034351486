"""A whole node killed under a run, its aggregators and its workers at once; one that drains."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.draining import drain_node
from actors.local_nodes import LocalNode, one_more_node
from ray_easgd import ElasticTrainer, session
from ray_easgd.display import Progress, Silence
from ray_easgd.run_folder import RunFolder
from tests.fakes import Points, descend, small_model
from tests.test_succession import all_was_seen, events, fit, told, under_way

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.chaos,
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]

SAMPLES = 4096


@pytest.fixture(params=[1])
def node(cluster: None, request: pytest.FixtureRequest) -> Iterator[LocalNode]:
    """With so many CPUs as the parameter says. Ray has given it up before the next test begins, or
    would place that one's actors there."""
    with one_more_node(request.param, labels=["zone=b"]) as made:
        yield made
    while any(node["Alive"] for node in ray.nodes() if node["NodeID"] == made.id):
        time.sleep(0.1)


@dataclass
class Blackout(Silence):
    """Kills the node once both aggregators are at work; lets the run end after the successors are.

    ``flag`` is a file that the workers look for.
    """

    node: LocalNode
    flag: Path
    killed_s: float = 0.0
    replaced: list[str] = field(default_factory=list)

    def update(self, progress: Progress) -> None:
        hubs = {hub.name: hub.version for hub in progress.hubs if hub.parent}
        if not self.killed_s and len(hubs) == 2 and min(hubs.values()) > 20:
            self.node.kill()
            self.killed_s = progress.time_s
        if len(self.replaced) == 2 and not self.flag.exists():
            self.flag.touch()

    def event(self, text: str) -> None:
        if "successor" in text:
            self.replaced.append(text)


def loop(config: dict[str, Any]) -> None:
    """Steps without data until the flag is there, telling of each tenth; then trains."""
    import torch

    model = small_model()
    elastic = session.elastic(model)
    x, generator = elastic.vector.flat, torch.Generator().manual_seed(os.getpid())
    data = iter(session.data(Points(), batch_size=8))
    for inputs, targets in data:
        descend(model, inputs, targets, lr=0.05)
        elastic.step()
        while not os.path.exists(config["flag"]):  # noqa: PTH110
            x.add_(torch.randn(x.shape, generator=generator), alpha=1e-4)
            time.sleep(0.002)  # what a gradient takes
            elastic.step()
            if elastic.clock % 100 == 0:
                session.report({f"beat-{os.getpid()}": elastic.clock})


def test_children_elsewhere_go_on_while_an_aggregators_node_is_gone(
    node: LocalNode, storage: dict[str, Any], tmp_path: Path
) -> None:
    flag = tmp_path / "enough"
    upper = {"fan_out": 2, "period": 8, "placement": "zone"}  # both of them on the node that dies
    config = {
        "run": storage,
        "fleet": {"workers": 4, "gpus_per_worker": 0},
        "algorithm": {"name": "easgd"},
        "topology": {"levels": [upper, {"fan_out": 2, "period": 4}]},
        "exchange": {"ledger": True},
        "stop": {"samples": SAMPLES},
    }
    blackout = Blackout(node, flag)
    result = ElasticTrainer(loop, train_loop_config={"flag": str(flag)}, config=config).fit(
        display=blackout
    )
    assert result.metrics["samples"] - result.metrics["samples_repeated"] == SAMPLES
    assert result.metrics["samples_missed"] == 0
    folder = RunFolder.open(result.path)
    events = folder.read_events()
    replaced = [event for event in events if event["kind"] == "aggregator_replaced"]
    assert {event["source"] for event in replaced} == {"aggregator-1-0", "aggregator-1-1"}
    for event in replaced:
        assert "begins anew at its parent" in event["message"]
        assert "is lost, and its children go on" in event["message"]
    at_work_s = max(event["time_s"] for event in replaced)
    beats = [
        row["name"]
        for row in folder.read_metrics().to_pylist()
        if row["name"].startswith("beat") and blackout.killed_s < row["time_s"] < at_work_s
    ]
    going_on = {process for process in beats if beats.count(process) >= 3}
    assert len(going_on) >= 3, "one at most was on that node; the others never stopped stepping"
    joined = {event["source"] for event in events if event["kind"] == "new_life"}
    assert len(joined) >= len(going_on)


@pytest.mark.parametrize("node", [16], indirect=True)
def test_workers_leave_a_node_that_drains_and_are_replaced_elsewhere(
    node: LocalNode, storage: dict[str, Any]
) -> None:
    """With 5 of 16 CPUs each, Ray puts one at least where less is in use."""
    result, _ = fit(
        storage,
        (under_way, lambda: drain_node(node.id, message="for a test", deadline_s=600)),
        told("its node drains"),
        fleet={"cpus_per_worker": 5},
        topology={"levels": [{"fan_out": 2, "period": 8}]},
    )
    assert all_was_seen(result)
    assert [node.id[:8] in event["message"] for event in events(result, "draining")] == [True]
    left = [event["message"] for event in events(result, "worker_left")]
    assert left, "one or both of them were there"
    assert all("after a last exchange (its node drains)" in message for message in left)
    assert events(result, "worker_lost") == []
    assert result.metrics["num_workers"] == 2
