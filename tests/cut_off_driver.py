"""The driver of ``test_cut_off`` on its first host. A program: ORDER_FILE RESULT_FILE."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import ray

from actors.benchmark.namespaces import Host
from actors.benchmark.nodes import start_head, start_node
from actors.torment import Tormentor
from actors.trainer import ElasticTrainer
from ray_easgd.display import Silence
from ray_easgd.incidents import Process
from ray_easgd.journal import Journals

WORKERS = 2


@dataclass
class FarNode:
    """A Ray node on a host of its own, whose wire can be pulled out."""

    host: Host
    id: str

    def wire(self, state: str) -> None:
        """Up or down."""
        command = ["ip", "-n", self.host.namespace, "link", "set", "veth0", state]
        subprocess.run(command, check=True)


class Cutter(Tormentor):
    """Cuts a node off, waits until all goes on without it, and heals it."""

    cut_at = healed_at = 0.0
    lost: frozenset[Process] = frozenset()

    def _node_cut(self) -> tuple[str, frozenset[Process], Callable[[], bool]]:
        node: Any = self._nodes[-1]
        self.lost = self._on(node)
        assert {who for who, _ in self.lost} & {who for who, _ in self._workers()}
        self._struck_at = self.cut_at = time.time()
        node.wire("down")
        self._tell("the node is cut off")
        self._wait(self._all_go_on_without_it, "not everybody was replaced after the cut")
        node.wire("up")
        self.healed_at = time.time()
        self._tell("the node is healed")
        return node.id[:8], self.lost, lambda: not self._lost_workers()

    def _all_go_on_without_it(self) -> bool:
        """As many as are wanted have exchanged since, none of them a process of that node."""
        answered = {(e.who, e.pid) for e in self._lately("answered", self.cut_at)} - self.lost
        workers = {who for who, _ in answered if who.startswith("worker")}
        hubs = {e.values["hub"] for e in self._lately("answered", self.cut_at)}
        stepped = {(e.who, e.pid) for e in self._lately("step", self.cut_at)} - self.lost
        near = {who for who, _ in stepped}
        return len(workers | near) >= WORKERS and "center" in hubs

    def _lost_workers(self) -> frozenset[Process]:
        """Ray ends the processes of a node that comes back after it was given up."""
        return self.lost & frozenset(self._workers())


def main(order_file: str, result_file: str) -> None:
    order = json.loads(Path(order_file).read_text("utf-8"))
    hosts, folder = [Host(**host) for host in order["hosts"]], Path(order["folder"])
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    start_head(hosts[0], folder / "n0", num_cpus=0)
    nodes: list[Any] = [
        FarNode(host, start_node(host, folder / f"n{k}", num_cpus=WORKERS))
        for k, host in enumerate(hosts[1:], 1)
    ]
    journals = Journals(str(folder / "journals"))
    cutter = Cutter(
        "cut",
        ["node_cut"],
        journals=journals,
        nodes=nodes,
        num_workers=WORKERS,
        num_cpus=WORKERS,
        stop_s=0.0,
        has_spares=True,
        stops=True,
        seed=order["seed"],
        tell=_tell,
    )
    cutter.begin()
    try:
        result = ElasticTrainer(
            config={
                "seed": order["seed"],
                "run": {"name": "cut", "storage": str(folder), "journal": str(folder / "journals")},
                "fleet": {"workers": WORKERS, "spares": 1, "steps_per_s": 25},
                "exchange": {"ledger": True},
                "stop": {"seconds": 300},
            }
        ).fit(display=Silence())
    finally:
        cutter.end()
    journals.look()
    told = {
        "metrics": {k: v for k, v in result.metrics.items() if k != "path"},
        "incidents": [asdict(i) | {"touched": sorted(i.touched)} for i in cutter.incidents],
        "late": cutter.late,
        "gap_s": gap(journals, cutter),
        "all_back_s": cutter.healed_at - cutter.cut_at,
    }
    Path(result_file).write_text(json.dumps(told), "utf-8")
    ray.shutdown()


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def gap(journals: Journals, cutter: Cutter) -> float:
    """The longest time without an answer of the center, from the cut to the healing."""
    answers = [e.at for e in journals.entries["answered"] if e.values["hub"] == "center"]
    within = [at for at in answers if cutter.cut_at < at < cutter.healed_at]
    moments = [cutter.cut_at, *within, cutter.healed_at]
    return max(b - a for a, b in pairwise(moments))


if __name__ == "__main__":
    main(*sys.argv[1:])
