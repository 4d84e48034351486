"""Methods that are one another's special cases, trajectory for trajectory, noise and all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ray_easgd.algorithms import METHODS, Algorithm
from ray_easgd.algorithms.diloco import OuterExchange
from ray_easgd.algorithms.two_rate import Scheme, in_scheme
from ray_easgd.simulator import Quadratic, Simulation

PROBLEM = Quadratic(h=2.0, size=6, dtype=torch.float64)


def run_of(algorithm: Algorithm, **options: Any) -> Simulation:
    settings: dict[str, Any] = {"num_workers": 4, "lr": 0.05, "period": 3, "lead": 0} | options
    problem = settings.pop("problem", PROBLEM)
    return Simulation(problem, algorithm, **settings)


def path(simulation: Simulation, seconds: int = 60) -> Tensor:
    """The center and every worker, second by second: shape (seconds, 1 + workers, n)."""
    seen = []
    for _ in range(seconds):
        simulation.run(seconds=1)
        seen.append(torch.stack([simulation.center, *(w.x for w in simulation.workers)]))
    return torch.stack(seen)


def two_rate(scheme: Scheme, center_rate: float | None) -> Algorithm:
    algorithm = in_scheme(METHODS["two_rate"], scheme)
    return algorithm.having(center_rate=center_rate)


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def test_synchronous_downpour_is_full_gauss_seidel_at_rates_one() -> None:
    downpour = replace(METHODS["downpour"], exchange=OuterExchange(), rounds="together")
    full = run_of(two_rate("full_gauss_seidel", 1.0), fixed_rate=1.0)
    assert error(path(run_of(downpour)), path(full)) < 1e-12


def test_local_sgd_is_full_gauss_seidel_at_rates_one_and_one_over_p() -> None:
    full = run_of(two_rate("full_gauss_seidel", 0.25), fixed_rate=1.0)
    assert error(path(run_of(METHODS["local_sgd"])), path(full)) < 1e-12


def test_synchronous_easgd_is_jacobi_with_one_rate_bit_for_bit() -> None:
    jacobi = run_of(two_rate("jacobi", None), fixed_rate=0.2)
    assert torch.equal(path(run_of(METHODS["easgd_sync"], fixed_rate=0.2)), path(jacobi))


@pytest.mark.parametrize(("p", "delta_h"), [(1, 0.6), (4, 0.08)])
def test_easgd_that_repels_is_momentum(p: int, delta_h: float) -> None:
    """beta = 1, alpha = -delta_h: the workers' mean is MSGD's iterate, the center the one before
    (mathematics.md, 3.4)."""
    quiet = p > 1  # one worker sees the noise that MSGD sees; several start apart instead
    shared: dict[str, Any] = {"period": 1, "problem": replace(PROBLEM, sigma=float(not quiet))}
    msgd = run_of(METHODS["msgd"], num_workers=1, momentum=delta_h / 0.9, **shared)
    jacobi = two_rate("jacobi", 1.0 / p)
    easgd = run_of(jacobi, num_workers=p, fixed_rate=-delta_h, **shared)
    for k, worker in enumerate(easgd.workers):
        worker.x.add_(k - (p - 1) / 2)
    expected, seen = path(msgd)[:, 1], path(easgd)
    assert error(seen[:, 1:].mean(1), expected) < 1e-12
    # seen after the exchange: the center that the next step finds is this step's mean
    assert error(seen[:, 0], expected) < 1e-12
    assert not quiet or error(seen[0, 1], seen[0, 2]) > 0.5


def test_asynchronous_diloco_of_one_worker_is_diloco_bit_for_bit() -> None:
    runs = [run_of(METHODS[name], num_workers=1) for name in ("diloco", "diloco_async")]
    assert torch.equal(*(path(run) for run in runs))
