"""Whether a configuration is stable on a quadratic: its own fleet, wound without noise.

The map of a cycle is not written down a second time: the very objects that a run uses are
simulated, pull delays included, on one coordinate for each of several curvatures, and what they do
to a random displacement is measured (docs/mathematics.md, 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ray_easgd.errors import BadConfig, Diverged
from ray_easgd.recipe import algorithm_of
from ray_easgd.topology import steps_between

if TYPE_CHECKING:
    from ray_easgd.config import Config
    from ray_easgd.simulator.fleet import Simulation

Verdict = Literal["stable", "unstable", "unknown"]

_SHARES = (1.0 / 32.0, 1.0 / 8.0, 1.0 / 2.0, 1.0)  # of the largest curvature
_MOST_STEPS = 8_000
_CYCLES = (24, 120)  # at least and at most: a window of a quarter sees an oscillation
_FEWEST_CYCLES = 4  # to compare quarters of; with fewer everything has grown beyond measure
_SURE = 2e-4  # of growth in a cycle; less may be an oscillation seen at another phase
_LINEAR = {"sgd", "nesterov", "SGD"}


@dataclass(frozen=True, kw_only=True)
class Stability:
    """``growth``: the factor by which the worst mode grows in a cycle, at ``eta_h`` of its own.

    ``margin`` is ``1 - growth``; ``staleness`` the mean of pushes, in versions. A cycle is a period
    of the workers, of a tree that of the topmost level.
    """

    verdict: Verdict
    reason: str
    growth: float = math.nan
    eta_h: float = math.nan
    staleness: float = math.nan

    @property
    def margin(self) -> float:
        """Below 0 where it is unstable."""
        return 1.0 - self.growth


def stability(config: Config, curvature: float) -> Stability:
    """On a quadratic whose largest curvature is that; 0 asks about averaging alone.

    Without noise, at the configuration's paces and latencies (``simulator.*``). ``unknown`` where
    the local step is not linear, or growth cannot be told from none.
    """
    from ray_easgd.loop import local_step_name

    name = local_step_name(config)
    if name not in _LINEAR:
        return Stability(verdict="unknown", reason=f"the step of {name} is not linear")
    eta = config.optimizer.lr or algorithm_of(config).lr
    curvatures = (0.0, *(share * curvature for share in _SHARES if curvature))
    try:
        logs, num_steps, staleness = _wind(config, curvatures)
    except (BadConfig, Diverged) as error:
        return Stability(verdict="unstable", reason=str(error), growth=math.inf)
    slopes = _slopes(logs) if len(logs) >= _FEWEST_CYCLES else logs[-1] / len(logs)
    worst = int(np.argmax(slopes))
    growth, eta_h = float(np.exp(min(slopes[worst], 700.0))), eta * curvatures[worst]
    slow = np.array([eta * h * num_steps for h in curvatures[1:]])
    limits = -np.minimum(_SURE, np.concatenate([[_SURE], 0.02 * slow]))
    verdict: Verdict = "unknown"
    if slopes[worst] > _SURE:
        verdict = "unstable"
    elif bool((slopes < limits).all()):
        verdict = "stable"
    what = f"at lr * curvature = {eta_h:.4g}" if eta_h else "by averaging alone"
    return Stability(
        verdict=verdict,
        reason=f"the slowest mode is multiplied by {growth:.4g} a cycle, {what}",
        growth=growth,
        eta_h=eta_h,
        staleness=staleness,
    )


def _wind(config: Config, curvatures: tuple[float, ...]) -> tuple[np.ndarray, float, float]:
    """Logarithms of each coordinate's size, shape (cycles, curvatures); a worker's steps in a
    cycle; and the mean staleness."""
    from ray_easgd.simulator.problems import Spectrum
    from ray_easgd.simulator.virtual_run import make_simulation

    linear = config.optimizer.model_copy(update={"clip_norm": None})  # as it is near the minimum
    config = config.model_copy(update={"optimizer": linear})
    simulation = make_simulation(config, Spectrum(curvatures))
    chance = torch.Generator().manual_seed(config.seed)
    for worker in simulation.workers:  # apart, so that their differences show too
        worker.x.add_(torch.randn(worker.x.shape, generator=chance, dtype=worker.x.dtype))
    per_worker = _steps_in_a_cycle(config, simulation)
    steps = max(1, round(per_worker * simulation.num_workers))
    fewest, most = _CYCLES
    logs = []
    for _ in range(min(most, max(fewest, _MOST_STEPS // steps))):
        simulation.run(steps=steps)
        logs.append(np.log(np.maximum(_sizes(simulation), 1e-300)))
        if logs[-1].max() > 200.0:
            break
    pushes = [staleness for *_, staleness in simulation.trace]
    return np.array(logs), per_worker, float(np.mean(pushes)) if pushes else math.nan


def _sizes(simulation: Simulation) -> np.ndarray:
    """Of each coordinate: the norm of all vectors; of the flat one, of their distances."""
    vectors = [worker.x for worker in simulation.workers]
    vectors += [hub.vector for level in simulation.hubs for hub in level if hub.vector is not None]
    rows = torch.stack([v.detach() for v in vectors]).double().numpy()
    with np.errstate(over="ignore"):  # inf is beyond measure too
        sizes: np.ndarray = np.linalg.norm(rows, axis=0)
    sizes[0] = np.linalg.norm(rows[:, 0] - simulation.center[0].item())
    return sizes


def _slopes(logs: np.ndarray) -> np.ndarray:
    """Growth in a cycle: between the largest of the second quarter and of the last."""
    quarter = max(1, len(logs) // 4)
    early, late = logs[quarter : 2 * quarter], logs[-quarter:]
    distance = late.argmax(0) + len(logs) - quarter - (early.argmax(0) + quarter)
    slopes: np.ndarray = (late.max(0) - early.max(0)) / np.maximum(distance, 1)
    return np.where(late.max(0) < -600.0, -1.0, slopes)  # nothing is left of it


def _steps_in_a_cycle(config: Config, simulation: Simulation) -> float:
    levels = config.topology.levels
    if levels:
        return max(1.0, steps_between(levels)[0])
    return float(simulation.period or simulation.algorithm.period)
