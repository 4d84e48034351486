"""``benchmark grid``: the planner's period and moving rate against a grid of them, in real runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from actors.benchmark.peers import environment_of, tested
from ray_easgd import strict_json
from ray_easgd.config import Config
from ray_easgd.errors import EasgdError
from ray_easgd.peers.contenders import ours
from ray_easgd.peers.rows import Row
from ray_easgd.peers.trial import OWN_PYTHON, Here, Plan, Trial
from ray_easgd.peers.workload import Workload
from ray_easgd.planner.plan import plan
from ray_easgd.planner.setting import setting_of
from ray_easgd.recipe import algorithm_of

Tell = Callable[[str], None]

_LIMIT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What every worker of a trial is tied by."""

    period: int
    moving_rate: float

    def __str__(self) -> str:
        return f"period {self.period} rate {self.moving_rate:.3g}"


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """``repeats``: more runs of the best cell and of the recommendation, with other seeds.

    ``side_by_side``: trials at a time, on a machine that has the cores for all their workers.
    """

    workload: Workload
    method: str = "easgd"
    periods: Sequence[int] = (1, 4, 16, 64)
    rates: Sequence[float] = (0.03, 0.1, 0.225, 0.35)
    repeats: int = 5
    target: float = 0.85
    side_by_side: int = 1


def run_grid(options: GridOptions, *, tell: Tell) -> dict[str, Any]:
    """Every cell once; then the best and the recommended one again, and their medians.

    Raises EasgdError where no cell reached the target.
    """
    config = _config(options)
    advised = plan(config, setting_of(config))
    advice = Cell(period=advised["period"], moving_rate=advised["moving_rate"])
    tell(f"grid: recommended is {advice}")
    cells = [Cell(period=p, moving_rate=a) for p, a in product(options.periods, options.rates)]
    with TemporaryDirectory(prefix="easgd-grid-", dir="/tmp") as folder:
        trials = _Trials(options, algorithm_of(config).local_step, Path(folder), tell)
        rows = trials.run([(cell, 0) for cell in cells])
        best = _best(cells, rows, options.target)
        seeds = range(1, options.repeats + 1)
        again = trials.run([(cell, seed) for seed in seeds for cell in (best, advice)])
    own, others = (_median([r for r in again if r["peer"] == str(c)]) for c in (advice, best))
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "data": options.workload.data,
        "model": options.workload.model,
        "method": options.method,
        "workers": options.workload.num_workers,
        "target": options.target,
        "recommended": str(advice),
        "best": str(best),
        "recommended_s": own,
        "best_s": others,
        "ratio": own / others if own and others else None,
        "rows": [*rows, *again],
    }


def _config(options: GridOptions) -> Config:
    work = options.workload
    told: dict[str, Any] = {"data": work.data, "model": work.model, "batch_size": work.batch_size}
    told |= {"algorithm": {"name": options.method}, "fleet": {"workers": work.num_workers}}
    return Config.build(told | {"optimizer": {"lr": work.lr}})


@dataclass(frozen=True)
class _Trials:
    options: GridOptions
    local_step: str
    folder: Path
    tell: Tell

    def run(self, wanted: Sequence[tuple[Cell, int]]) -> list[Row]:
        """One trial for each cell and seed."""
        with ThreadPoolExecutor(self.options.side_by_side) as pool:
            return list(pool.map(self._one, *zip(*wanted, strict=True)))

    def _one(self, cell: Cell, seed: int) -> Row:
        options, target = self.options, self.options.target
        folder = self.folder / f"{cell.period}-{cell.moving_rate:.4g}-{seed}"
        folder.mkdir(exist_ok=True)
        algorithm = {
            "name": options.method,
            "period": cell.period,
            "moving_rate": cell.moving_rate,
        }
        trial = Trial(
            ours(str(cell), self.local_step, algorithm, lr=options.workload.lr),
            replace(options.workload, seed=seed),
            Plan(limit_s=_LIMIT_S),
            folder=folder,
            python=OWN_PYTHON,
            environment=environment_of(),
            place=Here(),
        )
        row = tested(trial, scene="grid", target=target)
        self.tell(f"grid: {strict_json.dumps(_told(row))}")
        return row


def _told(row: Row) -> dict[str, Any]:
    keys = ("peer", "seed", "training_to_target_s", "samples_to_target", "samples_per_s")
    return {key: row[key] for key in (*keys, "final_accuracy", "reason")}


def _best(cells: Sequence[Cell], rows: Sequence[Row], target: float) -> Cell:
    there = {c: r["training_to_target_s"] for c, r in zip(cells, rows, strict=True)}
    reached = {cell: seconds for cell, seconds in there.items() if seconds is not None}
    if not reached:
        raise EasgdError(f"no cell reached {target:g}: give more --samples, or a lower --target")
    return min(reached, key=lambda cell: reached[cell])


def _median(rows: Sequence[Row]) -> float | None:
    """None where half of them never reached it."""
    times = (r["training_to_target_s"] for r in rows)
    found = statistics.median(math.inf if t is None else t for t in times)
    return found if math.isfinite(found) else None
