"""Fleets of the runtime's own algorithm objects, on a virtual clock: the figures' witnesses.

At period 1 and ``at_snapshot`` the exchange of time t makes the center of time t + 1; that of time
0, of workers equal to the center, would move nothing and is not held. So after ``rounds - 1``
seconds the center is that after so many rounds of the synchronous iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from ray_easgd.algorithms import METHODS, Algorithm, Nesterov
from ray_easgd.algorithms.contract import Rounds
from ray_easgd.algorithms.diloco import OuterExchange
from ray_easgd.algorithms.two_rate import Scheme, in_scheme
from ray_easgd.simulator import DoubleWell, Problem, Quadratic, Simulation
from ray_easgd.theory.arguments import Array

State = Callable[[Simulation], list[Tensor]]


def registered(name: str) -> Algorithm:
    """The method as a user gets it."""
    return METHODS[name]


def method(name: str, rounds: Rounds = "together") -> Algorithm:
    """The registered method with workers that all wait, or take turns, at each exchange."""
    return replace(METHODS[name], rounds=rounds, order="at_snapshot")


def two_rate(scheme: str, center_rate: float) -> Algorithm:
    """The two-rate family in one of its orders, with a center rate per worker."""
    known: dict[str, Scheme] = {name: name for name in get_args(Scheme)}
    return in_scheme(METHODS["two_rate"], known[scheme]).having(center_rate=center_rate)


def downpour_in_lockstep() -> Algorithm:
    """DOWNPOUR whose workers take over the center once all have pushed."""
    return replace(METHODS["downpour"], exchange=OuterExchange(), rounds="together")


def quadratic(*, h: float = 1.0, sigma: float = 0.0, x0: float = 1.0, size: int = 1) -> Quadratic:
    """In float64; ``size`` coordinates are as many repetitions."""
    return Quadratic(h=h, sigma=sigma, x0=x0, size=size, dtype=torch.float64)


def fleet(
    problem: Problem,
    algorithm: Algorithm,
    *,
    p: int,
    eta: float,
    alpha: float | None = None,
    **options: Any,
) -> Simulation:
    """A fleet that exchanges at each step, its wires without delay, unless told otherwise."""
    defaults: dict[str, Any] = {"period": 1, "lead": 0, "seed": 1605}
    return Simulation(
        problem, algorithm, num_workers=p, lr=eta, fixed_rate=alpha, **defaults | options
    )


def centers(simulation: Simulation, rounds: Iterable[int]) -> list[Array]:
    """The center after so many rounds of a fleet in lockstep, each shape (repetitions,)."""
    seen, passed = [], 1
    for t in rounds:
        simulation.run(seconds=max(t - passed, 0))
        passed = max(t, 1)
        seen.append(simulation.center.double().numpy().copy())
    return seen


def pushed(simulation: Simulation, pushes: Iterable[int]) -> Array:
    """The center after so many pushes, its first coordinate."""
    seen, passed = [], 0
    for k in pushes:
        simulation.run(exchanges=k - passed) if k > passed else None
        passed = k
        seen.append(float(simulation.center[0]))
    return np.array(seen)


# -- the map of a cycle ----------------------------------------------------------------------------


def xs(simulation: Simulation) -> list[Tensor]:
    """The workers' vectors."""
    return [worker.x for worker in simulation.workers]


def velocities(simulation: Simulation) -> list[Tensor]:
    """Of workers with momentum."""
    return [w.step.velocity[0] for w in simulation.workers if isinstance(w.step, Nesterov)]


def velocities_and_xs(simulation: Simulation) -> list[Tensor]:
    """Velocities first."""
    return [*velocities(simulation), *xs(simulation)]


def measured_map(
    algorithm: Algorithm,
    *,
    p: int,
    eta_h: float,
    alpha: float | None = None,
    period: int = 1,
    momentum: float | None = None,
    state: State = xs,
    center: str = "found",
) -> Array:
    """What a cycle of a noise-free fleet does to its state, as a matrix.

    Everything is linear on a quadratic, so that coordinates with random starts are as many
    experiments: the states before and after one more cycle, a column an experiment, give the map.
    ``center`` adds the row of the center as the exchange ``found`` it, or as it was ``left``.
    """

    def build(size: int) -> Simulation:
        return fleet(
            quadratic(h=2.0, size=size),
            algorithm,
            p=p,
            eta=eta_h / 2.0,
            alpha=alpha,
            period=period,
            momentum=momentum,
        )

    rows = len(state(build(1))) + (center != "none")
    simulation = build(rows)
    draw = torch.Generator().manual_seed(6651)
    for tensor in state(simulation):
        tensor.copy_(torch.randn(rows, generator=draw, dtype=tensor.dtype))
    _, before, after = (_cycle(simulation, period, state, center) for _ in range(3))
    return np.asarray(after @ np.linalg.pinv(before, rcond=1e-11))


def _cycle(simulation: Simulation, period: int, state: State, center: str) -> Array:
    found = simulation.center.clone()
    simulation.run(seconds=period)
    kept = {"found": [found], "left": [simulation.center], "none": []}[center]
    return torch.stack([*state(simulation), *kept]).double().numpy()


# -- two wells -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Wells(DoubleWell):
    """Repetitions of the double well in float64, all from one start of the center."""

    size: int = 1

    def start(self) -> Tensor:
        return torch.full((self.size,), self.x0, dtype=torch.float64)

    def gradient(self, x: Tensor, noise: torch.Generator) -> Tensor:
        gradient = x * (x.square() - 1.0)
        if self.sigma:
            gradient += self.sigma * torch.randn(x.shape, generator=noise, dtype=x.dtype)
        return gradient


def split_fleet(problem: Wells, *, rho: float, eta: float) -> Simulation:
    """Two workers, one in each well."""
    simulation = fleet(problem, method("easgd"), p=2, eta=eta, alpha=eta * rho)
    for worker, side in zip(simulation.workers, (1.0, -1.0), strict=True):
        worker.x.fill_(side)
    return simulation
