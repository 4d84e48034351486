"""The driver of ``benchmark tree`` on its first host. A program: ORDER_FILE RESULT_FILE.

Bytes are those that arrive over the wires of all hosts while workers train: from the first look
after the first gradient step to the end of training, Ray's own among them. ``idle_bytes_per_s`` is
what the cluster sends with nobody training.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from actors.benchmark.namespaces import Host, bytes_received
from actors.benchmark.nodes import start_head, start_node
from actors.trainer import ElasticTrainer
from ray_easgd.display import Progress, Silence
from ray_easgd.errors import EasgdError

_IDLE_S = 5.0
_TRAINING = "training"


@dataclass
class Meter(Silence):
    """Reads the wires when training begins and when it ends."""

    hosts: Sequence[Host]
    began_s: float | None = None
    ended_s: float | None = None
    bytes: int = 0

    def update(self, progress: Progress) -> None:
        if self.began_s is None and progress.phase == _TRAINING:
            self.began_s, self.bytes = time.monotonic(), -self._received()
        elif self.began_s is not None and self.ended_s is None and progress.phase != _TRAINING:
            self.ended_s = time.monotonic()
            self.bytes += self._received()

    @property
    def seconds(self) -> float:
        """How long it trained."""
        assert self.began_s is not None
        assert self.ended_s is not None
        return self.ended_s - self.began_s

    def event(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def _received(self) -> int:
        return sum(map(bytes_received, self.hosts))


def main(order_file: str, result_file: str) -> None:
    order = json.loads(Path(order_file).read_text("utf-8"))
    hosts, folder = [Host(**host) for host in order["hosts"]], Path(order["folder"])
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    start_head(hosts[0], folder / "n0", num_cpus=1)
    for k, host in enumerate(hosts[1:], 1):
        start_node(host, folder / f"n{k}", num_cpus=1)
    result: dict[str, Any] = {"idle_bytes_per_s": _idle(hosts)}
    for name, levels in order["shapes"].items():
        sys.stderr.write(f"training: {name}\n")
        result[name] = _train(name, order["config"], levels, hosts, folder)
    Path(result_file).write_text(json.dumps(result), "utf-8")
    ray.shutdown()


def _train(
    name: str, config: dict[str, Any], levels: list[Any], hosts: Sequence[Host], folder: Path
) -> dict[str, Any]:
    own = {"topology": {"levels": levels}, "run": {"name": name, "storage": str(folder / "runs")}}
    meter = Meter(hosts)
    metrics = ElasticTrainer(config=config | own).fit(display=meter).metrics
    return {
        "bytes": meter.bytes,
        "seconds": meter.seconds,
        "samples": metrics["samples"],
        "test_accuracy": metrics["test_accuracy"],
    }


def _idle(hosts: Sequence[Host]) -> float:
    before = sum(map(bytes_received, hosts))
    time.sleep(_IDLE_S)
    return (sum(map(bytes_received, hosts)) - before) / _IDLE_S


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except EasgdError as error:
        sys.exit(str(error))
