"""Reads the matrix of one cycle off a simulation.

Without noise everything is linear on a quadratic, and the coordinates of one vector are
independent. So one simulation is as many experiments as it has coordinates: coordinate j starts in
the j-th unit state. The states before and after one more cycle, as matrices with a column an
experiment, give the map between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ray_easgd.algorithms import METHODS, Algorithm, Nesterov
from ray_easgd.algorithms.contract import Order
from ray_easgd.simulator import Cable, Quadratic, SimulatedWorker, Simulation
from tests.linear_maps import Array

H = 2.0
"""The curvature: not 1, so that eta and eta h are told apart."""


@dataclass(frozen=True, kw_only=True)
class FromUnit(Quadratic):
    """Without noise; the center starts as the first unit vector."""

    h: float = H
    sigma: float = 0.0
    dtype: torch.dtype = torch.float64

    def start(self) -> Tensor:
        return torch.eye(self.size, dtype=self.dtype)[0].clone()


def velocity(worker: SimulatedWorker) -> Tensor:
    """A worker's own, shape (n,)."""
    assert isinstance(worker.step, Nesterov)
    return worker.step.velocity[0]


VARIED: dict[str, Callable[[Simulation], list[Tensor]]] = {
    "x": lambda s: [w.x for w in s.workers],
    "v": lambda s: [velocity(w) for w in s.workers],
    "m": lambda s: [w.elastic._state["m"] for w in s.workers],
    "z": lambda s: [s.hub.state["z"]],
    "outer_v": lambda s: [s.hub.state["v"]],
    "slots": lambda s: [s.hub.state[f"slot {k + 1}"] for k in range(len(s.workers))],
}
"""What starts in unit states, by name; so does the center."""

READ: dict[str, Callable[[Simulation], list[Tensor]]] = VARIED | {
    "c": lambda s: [s.center],
    "k": lambda s: [w.elastic.intake.held.vector for w in s.workers],
}
"""What a state may consist of. ``c_found`` is the center as the cycle's exchange found it."""


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """A method's run whose cycle, one round or one period, is to be differentiated.

    ``state`` names the rows, ``also_varied`` what is not among them. ``rank`` is that of the
    states within reach, None for all. ``eh`` is the learning rate times the curvature.
    """

    method: str
    state: str = "x c_found"
    algorithm: Algorithm | None = None
    workers: int = 3
    eh: float = 0.1
    alpha: float | None = None
    period: int = 1
    momentum: float | None = None
    order: Order | None = None
    average_rate: float = 0.001
    latency_s: float = 0.0
    rank: int | None = None
    also_varied: str = ""

    @property
    def map(self) -> Array:
        """What one cycle does to the state."""
        return self.measured()[0]

    def measured(self, cycle: int = 1) -> tuple[Array, Array]:
        """The map as it is made, and the projection on the states within reach.

        A cycle before it leads from the unit states to consistent ones.
        """
        before, after = self._states(cycle + 1)[-2:]
        assert np.linalg.matrix_rank(before, tol=1e-9) == (self.rank or len(before))
        inverse = np.linalg.pinv(before, rcond=1e-9)
        return after @ inverse, before @ inverse

    def _states(self, cycles: int) -> list[Array]:
        simulation, states = self._from_units(), []
        for _ in range(cycles):
            found = [simulation.center.clone()]
            if self.latency_s:  # until the last push is there, its answer still under way
                simulation.run(exchanges=self.workers)
            else:
                simulation.run(seconds=self.period)
            rows = [found if g == "c_found" else READ[g](simulation) for g in self.state.split()]
            states.append(torch.stack([row for group in rows for row in group]).numpy())
        return states

    def _from_units(self) -> Simulation:
        groups = [g for g in f"{self.state} {self.also_varied}".split() if g in VARIED]
        small = self._simulation(1)
        size = 1 + sum(len(VARIED[g](small)) for g in groups)
        simulation = self._simulation(size)
        varied = [tensor for g in groups for tensor in VARIED[g](simulation)]
        for tensor, unit in zip(varied, torch.eye(size)[1:], strict=True):
            tensor.copy_(unit)
        return simulation

    def _simulation(self, size: int) -> Simulation:
        return Simulation(
            FromUnit(size=size),
            self.algorithm or METHODS[self.method],
            num_workers=self.workers,
            lr=self.eh / H,
            period=self.period,
            momentum=self.momentum,
            fixed_rate=self.alpha,
            order=self.order,
            lead=0,
            cable=Cable(latency_s=self.latency_s),
            average_rate=self.average_rate,
        )


@dataclass(frozen=True, kw_only=True)
class Parity(Cycle):
    """The same with its map as it is written, which may depend on the cycles before."""

    about: str
    matrix: Array | Callable[[int], Array]

    def __str__(self) -> str:
        return f"{self.method}: {self.about}"

    def expected(self, cycle: int) -> Array:
        """The map as it is written."""
        return self.matrix(cycle) if callable(self.matrix) else self.matrix


def admm_rates(eta_h: float, eta_rho: float) -> dict[str, Any]:
    """ADMM in our letters: ``lr = eta / (1 + eta rho)``, ``alpha = eta rho / (1 + eta rho)``."""
    return {"eh": eta_h / (1.0 + eta_rho), "alpha": eta_rho / (1.0 + eta_rho)}
