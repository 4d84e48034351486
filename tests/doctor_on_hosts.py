"""The driver of ``test_doctor_hosts`` on its first host. A program: ORDER_FILE RESULT_FILE."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import torch

from actors.benchmark.namespaces import Host, cap
from actors.benchmark.nodes import start_head, start_node
from actors.doctor import examine
from ray_easgd import ElasticTrainer, session
from ray_easgd.display import Progress, Silence
from ray_easgd.doctor import diagnose

RUN = "patient"
SLOW = "2mbit"  # 400 kB take 1.6 s


class Cramped(Host):
    """A host whose /dev/shm has what Docker gives a container: 64 MB."""

    def command(self, *words: str) -> list[str]:
        """In a mount namespace of its own, as ``ip netns exec`` gives each command."""
        mount = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
        return super().command("sh", "-c", mount, "sh", *words)


def loop(config: dict[str, str]) -> None:
    elastic = session.elastic(torch.nn.Linear(400, 250))
    while not os.path.exists(config["enough"]):  # noqa: PTH110
        elastic.step()


class Visit(Silence):
    """Looks at the run, makes the wire slow, and looks again."""

    def __init__(self, hosts: list[Host], far: str, enough: Path) -> None:
        self._hosts, self._far, self._enough = hosts, far, enough
        self.seen: dict[str, Any] = {}
        self._rounds: Iterator[None] | None = None
        self._now: Progress | None = None

    def update(self, progress: Progress) -> None:
        self._now = progress
        self._rounds = self._rounds or self._visit()
        next(self._rounds, None)

    def _visit(self) -> Iterator[None]:
        """Each ``yield`` lets the driver go on."""
        while not (self._now and self._now.version > 100 and self._all_train()):
            yield
        self._look("fast")
        for host in self._hosts:
            cap(host, SLOW)
        while self._pull_s() < 1.0:
            yield
        self._look("slow")
        self._enough.touch()

    def _all_train(self) -> bool:
        assert self._now is not None
        return [worker.state for worker in self._now.workers] == ["training"] * 2

    def _look(self, name: str) -> None:
        evidence = examine(RUN, None, interval_s=4.0)
        (far,) = [p.seat for p in evidence.second.processes if p.node == self._far]
        findings = [asdict(found) for found in diagnose(evidence)]
        self.seen[name] = {"far": far, "findings": findings}

    def _pull_s(self) -> float:
        """The slowest of anybody's messages."""
        workers: list[Any] = [ray.get_actor(f"{RUN}:worker-{k}") for k in range(2)]
        glances: list[Any] = ray.get([worker.glance.remote() for worker in workers])
        edges = [edge for glance in glances for edge in glance.edges if not edge.in_memory]
        return max((edge.pull_s for edge in edges), default=0.0)


def main(order_file: str, result_file: str) -> None:
    order = json.loads(Path(order_file).read_text("utf-8"))
    hosts, folder = [Host(**host) for host in order["hosts"]], Path(order["folder"])
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    start_head(hosts[0], folder / "n0", num_cpus=1)
    far = start_node(Cramped(**asdict(hosts[1])), folder / "n1", num_cpus=1)
    visit = Visit(hosts, far, folder / "enough")
    began = time.monotonic()
    ElasticTrainer(
        loop,
        train_loop_config={"enough": str(folder / "enough")},
        config={
            "run": {"name": RUN, "storage": str(folder)},
            "algorithm": {"name": "easgd", "period": 4},
            "fleet": {"workers": 2, "spares": 0, "gpus_per_worker": 0, "steps_per_s": 25},
            "stop": {"seconds": 3600},
        },
    ).fit(display=visit)
    told = visit.seen | {"took_s": time.monotonic() - began}
    Path(result_file).write_text(json.dumps(told), "utf-8")
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
