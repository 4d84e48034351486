"""torch's DistributedDataParallel over gloo. A program: ORDER_FILE RANK."""

from __future__ import annotations

from datetime import timedelta

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ray_easgd.peers.loop import Tie, arguments, run
from ray_easgd.peers.workload import Order

_TIMEOUT = timedelta(minutes=5)


def join(order: Order, rank: int) -> None:
    """Meet the others. Each life of the group has a port of its own."""
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://{order.host}:{order.port}",
        rank=rank,
        world_size=order.num_workers,
        timeout=_TIMEOUT,
    )


def main() -> None:
    order, rank = arguments()
    join(order, rank)
    run(order, rank, lambda model, optimizer: Tie(DistributedDataParallel(model), optimizer))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
