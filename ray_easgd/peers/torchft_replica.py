"""One replica of torchft. A program: ORDER_FILE RANK.

Options: ``method``, ``local_sgd`` or ``diloco`` (outer Nesterov momentum 0.9, rate 0.7).
"""

from __future__ import annotations

import socket
from datetime import timedelta
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ray_easgd.peers.loop import Tie, arguments, run
from ray_easgd.peers.workload import Order

_TIMEOUT = timedelta(seconds=30)
_OUTER_LR, _OUTER_MOMENTUM = 0.7, 0.9


class Replicated(Tie):
    """Its hooks on the optimizer do the work; settled after an exchange."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.SGD, order: Order, rank: int
    ) -> None:
        super().__init__(model, optimizer)
        here = order.address(rank)
        if order.hosts:  # its checkpoints' address is made of the machine's name, and of no option
            socket.gethostname = lambda: here
        self._store: Any = import_module("torch.distributed").TCPStore(
            here, 0, is_master=True, wait_for_workers=False
        )
        local_sgd, torchft = import_module("torchft.local_sgd"), import_module("torchft")
        self._manager: Any = torchft.Manager(
            pg=torchft.ProcessGroupGloo(timeout=_TIMEOUT),
            min_replica_size=1,
            use_async_quorum=False,
            load_state_dict=lambda state: _load(model, optimizer, state),
            state_dict=lambda: {"model": model.state_dict(), "optimizer": optimizer.state_dict()},
            replica_id=f"worker-{rank}-{order.lives}",
            store_addr=here,
            store_port=self._store.port,
            rank=0,
            world_size=1,
            hostname=here,
            lighthouse_addr=f"http://{order.host}:{order.port}",
            timeout=_TIMEOUT,
        )
        if order.options["method"] == "diloco":
            outer = torch.optim.SGD(
                model.parameters(), lr=_OUTER_LR, momentum=_OUTER_MOMENTUM, nesterov=True
            )
            self._local = local_sgd.DiLoCo(
                self._manager, [model], optimizer, outer, sync_every=order.workload.period
            )
        else:
            self._local = local_sgd.LocalSGD(
                self._manager, model, optimizer, sync_every=order.workload.period
            )
        self._local.__enter__()

    def after_step(self, loss: Tensor) -> bool:
        return int(self._local._local_step) == 0  # noqa: SLF001  (it has no other word for it)

    def close(self) -> None:
        """Leave the others."""
        self._manager.shutdown(wait=False)


def _load(model: nn.Module, optimizer: torch.optim.SGD, state: dict[str, Any]) -> None:
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])


def main() -> None:
    order, rank = arguments()
    ties = []

    def tie_to(model: nn.Module, optimizer: torch.optim.SGD) -> Tie:
        ties.append(Replicated(model, optimizer, order, rank))
        return ties[0]

    run(order, rank, tie_to)
    ties[0].close()


if __name__ == "__main__":
    main()
