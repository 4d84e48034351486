"""The thesis's tree on a small network: 256 leaves in two schemes, against flat fleets of 16.

    study(TreeStudy())["rows"]

After as many samples per leaf, how good is the center, what passed the root's links, and how stale
was it? (Thesis, chapter 6; periods 10/100 and 8/80. Nothing here depends on the machine.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_easgd.aggregator import Aggregator
from ray_easgd.config import Config
from ray_easgd.elastic import Elastic
from ray_easgd.simulator.fleet import Simulation
from ray_easgd.simulator.virtual_run import make_simulation
from ray_easgd.trace import Pushed

_LR, _LR_DOWNPOUR = 0.2, 0.01

Row = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TreeStudy:
    """``looks`` are gradient steps of a leaf after which the center is tested."""

    data: str = "fashion_mnist"
    model: str = "mlp"
    fan_out: int = 16
    looks: tuple[int, ...] = (20, 40, 80, 160, 320, 640)
    batch_size: int = 32
    seed: int = 0


def study(options: TreeStudy, *, tell: Tell = lambda line: None) -> dict[str, Any]:
    """One row a contestant, and in ``curves`` one a contestant and look. Same study, same rows."""
    began, rows, curves = time.perf_counter(), [], []
    for name, asked in contestants(options).items():
        tell(f"tree study: {name}")
        fleet = make_simulation(Config.build(asked))
        for steps in options.looks:
            fleet.run(seconds=steps - fleet.clock.now_s)
            tested = _tested(fleet.problem.value(fleet.center))
            samples = steps * options.batch_size
            seen: Row = {
                "samples_per_leaf": samples,
                "samples": fleet.num_steps * options.batch_size,
                "root_mb": _root_mb(fleet),
            }
            curves.append({"fleet": name} | seen | tested)
        rows.append({"fleet": name} | _summary(fleet))
    return {
        "data": options.data,
        "rows": [row | _last(curves, row["fleet"]) for row in rows],
        "curves": curves,
        "wall_s": time.perf_counter() - began,
    }


def looks_up_to(steps: int) -> tuple[int, ...]:
    """``steps``, half of it, and so on, to 20."""
    looks = [steps]
    while looks[0] >= 40:
        looks.insert(0, looks[0] // 2)
    return tuple(looks)


def contestants(options: TreeStudy) -> dict[str, dict[str, Any]]:
    """Configurations by name. A step takes a virtual second, and a message a tenth of one.

    Learning rates are the best of 0.003, 0.01, 0.03, 0.1, 0.2 and 0.3 for each flat fleet, of 0.1
    and 0.2 for the trees.
    """
    d = options.fan_out
    common = {
        "data": options.data,
        "model": options.model,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "simulator": {"problem": "task", "jitter": 0.2, "latency_s": 0.1},
        "optimizer": {"lr": _LR},
    }
    flat = {"fleet": {"workers": d}}
    scales = [{"fan_out": d, "period": 10 * d}, {"fan_out": d, "period": 10}]
    messages = [
        {"fan_out": d, "period_up": d, "period_down": 10 * d},
        {"fan_out": d, "period_up": 8, "period_down": 80},
    ]
    return {
        f"EASGD, {d} workers": common | flat | {"algorithm": {"name": "easgd", "period": 10}},
        f"DOWNPOUR, {d} workers": common
        | flat
        | {"algorithm": {"name": "downpour", "period": 1}, "optimizer": {"lr": _LR_DOWNPOUR}},
        f"tree of {d * d}, two time scales": common
        | {"algorithm": {"name": "easgd"}, "topology": {"levels": scales}},
        f"tree of {d * d}, up and down": common
        | {
            "algorithm": {"name": "easgd"},
            "topology": {"levels": messages, "scheme": "messages"},
        },
    }


def _summary(simulation: Simulation) -> Row:
    ages = [
        record.staleness
        for _, hub, record in simulation.records
        if hub == simulation.nodes[0][0].name and isinstance(record, Pushed)
    ]
    return {
        "leaves": len(simulation.workers),
        "steps": simulation.num_steps,
        "root_pushes": len(ages),
        "root_staleness": float(np.mean(ages)) if ages else 0.0,
    }


def _root_mb(simulation: Simulation) -> float:
    """Both ways."""
    counts = [tie.counts for tie in _ties_at_root(simulation)]
    return sum(count.bytes_sent + count.bytes_received for count in counts) / 1e6


def _ties_at_root(simulation: Simulation) -> Iterator[Elastic]:
    if len(simulation.nodes) == 1:
        yield from (worker.elastic for worker in simulation.workers)
        return
    for node in simulation.nodes[1]:
        assert isinstance(node.hub, Aggregator)
        if node.hub.tie is not None:
            yield node.hub.tie


def _tested(value: dict[str, float]) -> dict[str, float]:
    return {
        key: value[key] for key in ("val_loss", "val_accuracy", "test_accuracy") if key in value
    }


def _last(curves: list[Row], fleet: str) -> Row:
    mine = [row for row in curves if row["fleet"] == fleet]
    return {key: value for key, value in mine[-1].items() if key != "fleet"}
