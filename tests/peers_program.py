"""A contender that computes nothing, for the tests of trials. A program: ORDER_FILE RANK.

Options: ``fails`` ends it at once; ``also`` starts one more process and says which.
"""

from __future__ import annotations

import subprocess
import sys
import time

from ray_easgd.journal import Journal
from ray_easgd.peers.record import Record
from ray_easgd.peers.workload import Order

STEP_S = 0.02
SNAPSHOT_STEPS = 10


def main(path: str, rank: int) -> None:
    order = Order.read(path)
    if order.options.get("fails"):
        sys.exit("it falls over")
    journal = Journal(f"{order.folder}/journals", f"extra-{rank}")
    if order.options.get("also"):
        journal.write("child", pid=subprocess.Popen(["sleep", "600"]).pid)
    record = Record(order, rank)
    end = order.workload.num_steps(order.num_workers)
    while end is None or record.clock < end:
        time.sleep(STEP_S)  # what a step takes
        record.stepped(order.workload.batch_size)
        if rank == 0 and record.clock % SNAPSHOT_STEPS == 0:
            journal.write("snapshot", path="weights", clock=record.clock)
    record.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
