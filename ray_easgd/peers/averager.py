"""torch's PeriodicModelAverager and HierarchicalModelAverager. A program: ORDER_FILE RANK.

Options: ``groups``, a list of period and group size from the smallest group up; without it
periodic.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.distributed.algorithms.model_averaging.hierarchical_model_averager import (
    HierarchicalModelAverager,
)

from ray_easgd.peers.ddp import join
from ray_easgd.peers.loop import Tie, arguments, run
from ray_easgd.peers.workload import Order


class Averaged(Tie):
    """Settled once everybody holds the mean of all."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.SGD, order: Order) -> None:
        super().__init__(model, optimizer)
        self._averager: Any
        self._period, self._clock = order.workload.period, order.resume_step
        if groups := order.options.get("groups"):
            ordered = OrderedDict((period, size) for period, size in groups)
            self._averager = HierarchicalModelAverager(period_group_size_dict=ordered)
        else:
            self._averager = PeriodicModelAverager(period=self._period, warmup_steps=0)
        self._averager.step = self._clock + 1  # its first call is after the first step

    def after_step(self, loss: Tensor) -> bool:
        self._averager.average_parameters(self.model.parameters())
        self._clock += 1
        return self._clock % self._period == 0


def main() -> None:
    order, rank = arguments()
    join(order, rank)

    def tie_to(model: nn.Module, optimizer: torch.optim.SGD) -> Tie:
        return Averaged(model, optimizer, order)

    run(order, rank, tie_to)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
