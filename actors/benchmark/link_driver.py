"""The driver on the hub's host of a capped link. A program: ORDER_FILE ROWS_FILE.

Ray's head runs on this host with the hub, a second node on the other host with the worker. To
the fields of every row it adds:

- ``line_share``: payload bytes per second in the slower of the two directions, over the line's
  rate. Both directions are in use at the same time; the time is that of the whole window.
- ``step_rate_ratio``: the worker's step rate while transfers are under way over the one without:
  steps of a small multilayer perceptron with an exchange always in the background, in blocks that
  alternate with blocks without; the median over the pairs.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray

from actors.benchmark.cases import Case
from actors.benchmark.exchange import Row, measure_row
from actors.benchmark.namespaces import Host
from actors.benchmark.nodes import start_head, start_node
from actors.benchmark.stage import Stage, curtain, fresh_name
from actors.benchmark.training import Pair
from actors.benchmark.worker import start_benchmark_worker
from actors.center import start_center
from ray_easgd.algorithms import METHODS
from ray_easgd.errors import EasgdError
from ray_easgd.hub import options_for

_BATCH_SIZE = 64
_PAIRS = 6
_EXCHANGES_PER_BLOCK = 3


def main(order_file: str, rows_file: str) -> None:
    order = json.loads(Path(order_file).read_text("utf-8"))
    hub, worker, folder = Host(**order["hub"]), Host(**order["worker"]), Path(order["folder"])
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    start_head(hub, folder / "hub")
    with _staged_across(worker, folder / "worker") as stage:
        rows = [
            _measure(stage, Case(**case), line_bytes_per_s=order["line_bytes_per_s"])
            for case in order["cases"]
        ]
    Path(rows_file).write_text(json.dumps(rows), "utf-8")
    ray.shutdown()


@contextmanager
def _staged_across(host: Host, folder: Path) -> Iterator[Stage]:
    """The center is up before there is a second node, so that it lies on this one."""
    run = fresh_name()
    with curtain() as actors:
        center = start_center(run, options_for(METHODS["easgd"]))
        actors.append(center)
        ray.get(center.status.remote())
        node = start_node(host, folder)
        worker = start_benchmark_worker("worker-0", run=run, node=node)
        actors.append(worker)
        yield Stage(run=run, center=center, workers=[worker])


def _measure(stage: Stage, case: Case, *, line_bytes_per_s: float) -> Row:
    sys.stderr.write(f"exchange over the link: {case}\n")
    row = measure_row(stage, case, allreduce_s=None)
    share = min(row["sent_bytes_per_s"], row["received_bytes_per_s"]) / line_bytes_per_s
    pairs = _pairs(stage, case, block_s=_EXCHANGES_PER_BLOCK * row["p50_ms"] / 1e3)
    return row | {
        "line_share": share,
        "step_rate_ratio": statistics.median(p.ratio for p in pairs),
    }


def _pairs(stage: Stage, case: Case, *, block_s: float) -> Sequence[Pair]:
    (worker,) = stage.workers
    (edge,) = stage.edges(1, transport=case.transport, wire_format=case.format)
    ray.get(worker.tie_model.remote(edge, case.n, _BATCH_SIZE, 1))
    pairs: Sequence[Pair] = ray.get(worker.compare.remote(_PAIRS, max(1.0, block_s)))
    stage.untie([worker])
    return pairs


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except EasgdError as error:
        sys.exit(str(error))
