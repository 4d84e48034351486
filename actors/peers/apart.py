"""A Ray cluster over the hosts of an order: one node, and room for one worker, on each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp

from actors.benchmark.namespaces import Host
from actors.benchmark.nodes import start_head, start_node
from ray_easgd.peers.workload import Order


def start_apart(order: Order, *, environment: Mapping[str, str]) -> None:
    """The driver is on the first host already. Whoever made the hosts ends the nodes."""
    os.environ.update(environment)
    hosts = [Host(**host) for host in order.hosts]
    folder = Path(mkdtemp(prefix="r", dir=Path(order.folder).parent))  # sockets: short paths
    start_head(hosts[0], folder / "n0", num_cpus=1)
    for k, host in enumerate(hosts[1:], 1):
        start_node(host, folder / f"n{k}", num_cpus=1)
