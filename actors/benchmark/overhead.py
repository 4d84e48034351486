"""``benchmark overhead``: what exchanges take from a training loop.

One worker trains a multilayer perceptron with the thesis's SGD, tied to a hub in another process
of the same node. In one process, blocks of steps with exchanges alternate with equally long ones
without, and so does their order; ``ratio`` is the median over the pairs of the step rate with
exchanges over the step rate without.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ray

from actors.benchmark.exchange import Row, Tell
from actors.benchmark.stage import Stage, staged
from actors.cluster import connected
from ray_easgd.config import Config
from ray_easgd.protocol import WireFormat

if TYPE_CHECKING:
    from actors.benchmark.training import Pair
    from actors.links import Transport

SIZES = (100_000, 2_700_000, 25_000_000)
_BLOCK_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class OverheadOptions:
    """``sizes``: about how many parameters the models have; ``period``: steps per exchange.

    ``gpu``: they are on a GPU, the hub stays in the node's memory.
    """

    sizes: Sequence[int] = SIZES
    period: int = 16
    batch_size: int = 128
    transport: Transport = "auto"
    format: WireFormat = "float32"
    pairs: int = 8
    gpu: bool = False


def run_overhead(options: OverheadOptions, *, tell: Tell) -> dict[str, list[Row]]:
    """One row for each size."""
    gpus = int(options.gpu)
    config = Config.build({"address": "local", "fleet": {"workers": 1, "gpus_per_worker": gpus}})
    with connected(config, log_to_driver=False), staged(1, num_gpus=gpus) as stage:
        rows = []
        for n in options.sizes:
            tell(f"overhead: n={n:,} period={options.period}")
            rows.append(_measure(stage, n, options))
        return {"rows": rows}


def _measure(stage: Stage, n: int, options: OverheadOptions) -> Row:
    (worker,) = stage.workers
    (edge,) = stage.edges(1, transport=options.transport, wire_format=options.format)
    built = ray.get(worker.tie_model.remote(edge, n, options.batch_size, options.period))
    pairs: Sequence[Pair] = ray.get(worker.compare.remote(options.pairs, _BLOCK_S))
    stage.untie([worker])
    return {
        "parameters": built,
        "period": options.period,
        "ratio": statistics.median(p.ratio for p in pairs),
        "steps_per_s": statistics.median(p.steps / p.with_s for p in pairs),
        "steps_per_s_alone": statistics.median(p.steps / p.without_s for p in pairs),
        "exchanges": sum(p.exchanges for p in pairs),
        "batch_size": options.batch_size,
        "transport": options.transport,
        "gpu": options.gpu,
    }
