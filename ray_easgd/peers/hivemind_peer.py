"""One peer of hivemind, with local updates. A program: ORDER_FILE RANK.

All train on their own, and average their weights each time that they have together trained on the
samples of a period of each (hivemind's ``use_local_updates``), in groups of as many as begin.
"""

from __future__ import annotations

import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ray_easgd.peers.loop import Tie, arguments, run
from ray_easgd.peers.workload import Order

_MATCHMAKING_S, _REQUEST_S = 3.0, 1.0  # its guide's for small local runs, and less for an answer
_TIMEOUT_S = 30.0
_TICK_S = 0.05


class Peer(Tie):
    """Settled after an averaging round, which its optimizer waits for."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.SGD, order: Order, rank: int
    ) -> None:
        hivemind, work = import_module("hivemind"), order.workload
        dht = hivemind.DHT(
            initial_peers=others(order, rank),
            host_maddrs=[f"/ip4/{order.address(rank)}/tcp/0"],
            start=True,
        )
        tell(order, rank, [str(address) for address in dht.get_visible_maddrs()])
        all_of_them = order.grows_to or order.num_workers
        self._peer: Any = hivemind.Optimizer(
            dht=dht,
            run_id="peers",
            optimizer=optimizer,
            batch_size_per_step=work.batch_size,
            target_batch_size=work.batch_size * work.period * all_of_them,
            use_local_updates=True,
            delay_state_averaging=False,
            matchmaking_time=_MATCHMAKING_S,
            averaging_timeout=_TIMEOUT_S,
            averager_opts={"request_timeout": _REQUEST_S, "target_group_size": work.num_workers},
        )
        super().__init__(model, self._peer)
        self._epoch = int(self._peer.local_epoch)

    def after_step(self, loss: Tensor) -> bool:
        before, self._epoch = self._epoch, int(self._peer.local_epoch)
        return self._epoch > before

    def close(self) -> None:
        """Leave the others."""
        self._peer.shutdown()


def others(order: Order, rank: int) -> list[str] | None:
    """Addresses of those who are there; the first of all begins alone."""
    if rank == 0 and order.lives == 1:
        return None
    while True:
        told = {path for path in Path(order.folder).glob("at-*.json") if path != _told(order, rank)}
        if told:
            return [address for path in told for address in json.loads(path.read_text("utf-8"))]
        time.sleep(_TICK_S)  # whoever started us ends us, if the first never comes


def _told(order: Order, rank: int) -> Path:
    return Path(order.folder, f"at-{rank}.json")


def tell(order: Order, rank: int, addresses: list[str]) -> None:
    """Where this one is to be found, for ``others``."""
    aside = _told(order, rank).with_suffix(".part")
    aside.write_text(json.dumps(addresses), "utf-8")
    aside.rename(_told(order, rank))


def main() -> None:
    order, rank = arguments()
    ties = []

    def tie_to(model: nn.Module, optimizer: torch.optim.SGD) -> Tie:
        ties.append(Peer(model, optimizer, order, rank))
        return ties[0]

    run(order, rank, tie_to)
    ties[0].close()


if __name__ == "__main__":
    main()
