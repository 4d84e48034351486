"""torchft's lighthouse, which its replicas meet at. A program: ORDER_FILE."""

from __future__ import annotations

import signal
import sys
from importlib import import_module

from ray_easgd.journal import Journal
from ray_easgd.peers.workload import Order


def main() -> None:
    order = Order.read(sys.argv[1])
    server = import_module("torchft.coordination").LighthouseServer(
        bind=f"0.0.0.0:{order.port}",
        min_replicas=1,
        join_timeout_ms=10_000,  # its manual's values
        quorum_tick_ms=100,
    )
    Journal(f"{order.folder}/journals", "coordinator").write("coordinator")
    signal.pause()
    server.shutdown()


if __name__ == "__main__":
    main()
