"""A tree with an aggregator on each node against one center: bytes between nodes, and accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.benchmark.namespaces import switched_hosts
from actors.benchmark.nodes import run_inside, short_folder
from ray_easgd.environment import data_root
from ray_easgd.errors import BadInput

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TreeOptions:
    """Both fleets: ``workers`` on each of ``nodes``, exchanging every ``period`` steps.

    An aggregator of the tree meets the center after ``upper_period`` exchanges of its workers.
    """

    nodes: int = 3
    workers: int = 2
    period: int = 4
    upper_period: int = 32
    samples: int = 1_000_000
    data: str | None = None

    def __post_init__(self) -> None:
        if self.nodes < 2:
            raise BadInput("--nodes", self.nodes, "there is no link on one node", "Take 2 or more.")

    @property
    def config(self) -> dict[str, Any]:
        """Of both runs."""
        data = self.data or ("fashion_mnist" if data_root() else "digits")
        return {
            "data": data,
            "fleet": {"workers": self.nodes * self.workers, "cpus_per_worker": 1 / self.workers},
            "stop": {"samples": self.samples},
            "batch_size": 64,
        }

    @property
    def flat(self) -> list[dict[str, Any]]:
        """One center."""
        return [{"fan_out": self.nodes * self.workers, "period": self.period}]

    @property
    def tree(self) -> list[dict[str, Any]]:
        """An aggregator on each node below it."""
        upper = {"fan_out": self.nodes, "period": self.upper_period, "placement": "node"}
        return [upper, {"fan_out": self.workers, "period": self.period}]


def run_tree(options: TreeOptions, *, tell: Tell) -> dict[str, Any]:
    """Train both on one Ray cluster over network namespaces.

    Needs root, ``ip`` and ``tc``. Every process, namespace and file of it is gone afterwards.
    """
    with short_folder("tree") as folder, switched_hosts(options.nodes) as hosts:
        tell(f"tree: {options.nodes} network namespaces around a switch")
        order = {
            "hosts": [asdict(host) for host in hosts],
            "config": options.config,
            "shapes": {"flat": options.flat, "tree": options.tree},
            "folder": folder,
        }
        ended = run_inside(hosts[0], "actors.benchmark.tree_driver", order, Path(folder))
    flat, tree = ended["flat"], ended["tree"]
    return {
        "nodes": options.nodes,
        "workers": options.nodes * options.workers,
        "data": options.config["data"],
        "samples": tree["samples"],
        "period": options.period,
        "upper_period": options.upper_period,
        "bytes_between_nodes": tree["bytes"],
        "flat_bytes_between_nodes": flat["bytes"],
        "bytes_ratio": flat["bytes"] / tree["bytes"],
        "test_accuracy": tree["test_accuracy"],
        "flat_test_accuracy": flat["test_accuracy"],
        "training_s": tree["seconds"],
        "flat_training_s": flat["seconds"],
        "idle_bytes_per_s": ended["idle_bytes_per_s"],
    }
