"""One process of a gloo all-reduce. A program: RANK WORLD STORE_FILE REPEATS N [N ...].

Rank 0 prints one JSON object: the median time in seconds for each N float32.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch
import torch.distributed as dist

_WARM_UP = 3


def main(rank: int, world: int, store: str, repeats: int, sizes: list[int]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    medians = {n: statistics.median(_times(n, repeats)) for n in sizes}
    if rank == 0:
        sys.stdout.write(json.dumps(medians) + "\n")
    dist.barrier()
    dist.destroy_process_group()


def _times(n: int, repeats: int) -> list[float]:
    vector = torch.randn(n)
    times = []
    for _ in range(_WARM_UP + repeats):
        began = time.perf_counter()
        dist.all_reduce(vector)
        times.append(time.perf_counter() - began)
        vector.div_(dist.get_world_size())  # sums of sums would overflow
    return times[_WARM_UP:]


if __name__ == "__main__":
    main(
        int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), [*map(int, sys.argv[5:])]
    )
