"""The maps of ray_easgd.theory against those that the runtime's own fleet makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ray_easgd import theory
from ray_easgd.algorithms import METHODS
from ray_easgd.algorithms.diloco import OuterExchange
from ray_easgd.algorithms.two_rate import Scheme, in_scheme
from ray_easgd.simulator import DoubleWell
from ray_easgd.theory import spectral_radius
from tests import linear_maps as maps
from tests.differentiate import Cycle, admm_rates
from tests.linear_maps import Array, mean_system

RANDOM = np.random.default_rng(1412)
EASGD_IN_TURN = replace(METHODS["easgd"], rounds="in_turn", order="at_snapshot")
DOWNPOUR_SYNC = replace(METHODS["downpour"], exchange=OuterExchange(), rounds="together")


@pytest.mark.parametrize("scheme", theory.SCHEMES)
def test_a_scheme_is_the_mean_system_of_its_fleet(scheme: Scheme) -> None:
    """Full Gauss-Seidel is seen between exchange and steps, so there up to that change of basis;
    and worker first, whose run is that of center first, where its round ends (mathematics.md, 2.9).
    """
    q, a, B = 0.7, 0.2, 0.45
    full = scheme == "full_gauss_seidel"
    first = scheme in ("jacobi", "gauss_seidel_center_first")
    run = Cycle(
        method="two_rate",
        algorithm=in_scheme(METHODS["two_rate"], scheme).having(center_rate=B / 3),
        eh=1.0 - q,
        alpha=a,
        state="x c_found" if first else "x c",
    )
    found = theory.two_rate_map(scheme, 1.0 - q, a, B)
    expected = maps.after_exchange(found, q) if full else found
    assert mean_system(run.map, 3) == pytest.approx(expected, abs=1e-10)
    trace, determinant = maps.trace_and_determinant(scheme, q, a, B)
    assert (np.trace(found), np.linalg.det(found)) == pytest.approx((trace, determinant))


@pytest.mark.parametrize(("p", "alpha", "period"), [(1, 0.3, 1), (4, 0.2, 1), (4, 0.225, 5)])
def test_easgd_has_the_roots_and_the_period_map_of_its_fleet(
    p: int, alpha: float, period: int
) -> None:
    run = Cycle(method="easgd_sync", workers=p, eh=0.4, alpha=alpha, period=period)
    mean = mean_system(run.map, p)
    assert theory.easgd_period_map(0.4, alpha, p * alpha, period) == pytest.approx(mean, abs=1e-10)
    if period == 1:
        roots = np.sort(np.linalg.eigvals(mean).real)[::-1]
        assert theory.easgd_roots(0.2, 2.0, alpha, p) == pytest.approx(tuple(roots), abs=1e-10)


@pytest.mark.parametrize("p", [1, 2, 5])
def test_round_robin_easgd_is_the_map_of_its_fleet(p: int) -> None:
    run = Cycle(method="easgd", algorithm=EASGD_IN_TURN, workers=p, eh=0.3, alpha=0.2)
    assert theory.easgd_rr_map(p, 0.3, 0.2) == pytest.approx(run.map, abs=1e-10)


@pytest.mark.parametrize("p", [2, 3])
def test_round_robin_admm_is_the_map_of_its_fleet(p: int) -> None:
    """The fleet's rows are (m.., x.., c); after a round 2 p of them are free."""
    run = Cycle(
        method="admm", workers=p, state="m x c", rank=2 * p, latency_s=0.1, **admm_rates(0.2, 0.3)
    )
    measured, reachable = run.measured()
    order = [*range(0, 2 * p, 2), *range(1, 2 * p, 2), 2 * p]
    found = theory.admm_rr_map(p, 0.2, 1.5)[np.ix_(order, order)]
    assert found @ reachable == pytest.approx(measured, abs=1e-10)


@pytest.mark.parametrize("tau", [1, 6])
def test_synchronous_downpour_has_the_factor_of_its_fleet(tau: int) -> None:
    run = Cycle(
        method="downpour", algorithm=DOWNPOUR_SYNC, workers=4, eh=0.1, period=tau, state="c"
    )
    assert theory.downpour_factor(0.1, tau, 4) == pytest.approx(run.map.item(), abs=1e-12)


@pytest.mark.parametrize("p", [1, 2, 5, 16])
def test_the_limit_of_round_robin_downpour_is_where_its_delay_line_leaves_the_circle(
    p: int,
) -> None:
    limit = float(theory.downpour_rr_eta_max(p))
    radii = [maps.spectral_radius(maps.delay_line(p, f * limit)) for f in (0.999, 1.0, 1.001)]
    assert radii[0] < 1.0 - 1e-5
    assert radii[1] == pytest.approx(1.0, abs=1e-9)
    assert radii[2] > 1.0 + 1e-5


def test_eamsgds_drift_and_msgds_are_those_of_their_fleets() -> None:
    eamsgd = Cycle(
        method="eamsgd",
        algorithm=replace(METHODS["eamsgd"], rounds="together", order="at_snapshot"),
        eh=0.3,
        alpha=0.2,
        momentum=0.6,
        state="v x c_found",
    )
    found = theory.eamsgd_drift(0.3, 0.6, 0.2, 0.6)
    assert found == pytest.approx(mean_system(eamsgd.map, 3), abs=1e-10)
    msgd = Cycle(method="msgd", workers=1, eh=0.3, momentum=0.6, state="v x")
    assert theory.msgd_drift(0.3, 0.6) == pytest.approx(msgd.map, abs=1e-10)


# -- round-robin ---------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 3, 8])
def test_below_its_limit_round_robin_easgd_never_expands(p: int) -> None:
    eta = RANDOM.uniform(0.0, 2.0, 500)
    alpha = RANDOM.uniform(0.0, 1.0, 500) * theory.easgd_rr_alpha_max(eta, 1.0)
    assert np.linalg.norm(theory.easgd_rr_map(p, eta, alpha), 2, axis=(-2, -1)).max() < 1 + 1e-12


def test_the_limit_is_exact_for_one_worker_and_not_for_two() -> None:
    """An erratum (mathematics.md, 4): at eta = 1 two workers bear alpha up to .7071."""
    eta = np.linspace(0.05, 1.95, 20)
    limit = theory.easgd_rr_alpha_max(eta, 1.0)
    assert (spectral_radius(theory.easgd_rr_map(1, eta, limit + 1e-6)) > 1.0).all()
    assert (spectral_radius(theory.easgd_rr_map(1, eta, limit - 1e-6)) < 1.0).all()
    at_one = spectral_radius(theory.easgd_rr_map(2, 1.0, np.array([0.69, 0.7070, 0.7072])))
    assert (at_one < 1.0).tolist() == [True, True, False]


def test_no_turn_of_admm_alone_expands() -> None:
    """A turn of worker 1, from the rounds of one worker beside an idle one: p = 2, by hand."""
    for eta in (0.001, 0.5, 2.0):
        for rho in (0.1, 2.5, 10.0):
            assert maps.spectral_radius(admm_turn(2, eta, rho)) <= 1.0 + 1e-9


def admm_turn(p: int, eta: float, rho: float) -> Array:
    """``F3 F2 F1`` of worker 1 (mathematics.md, 3.2), on (m^1, x^1, .., c)."""
    first, second, third = np.eye(2 * p + 1), np.eye(2 * p + 1), np.eye(2 * p + 1)
    first[0, [1, -1]] = -1.0, 1.0
    second[1, [0, 1, -1]] = np.array([eta * rho, 1.0 - eta, eta * rho]) / (1.0 + eta * rho)
    third[-1] = [*[-1.0 / p, 1.0 / p] * p, 0.0]
    turn: Array = third @ second @ first
    return turn


# -- tree ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "depth"), [(2, 1), (3, 2), (2, 3), (8, 2)])
def test_the_levels_of_a_tree_hold_all_that_its_stability_needs(d: int, depth: int) -> None:
    """The slowest mode of the whole tree and the one that turns unstable are alike on a level."""
    for eta_h in (0.0, 0.1, 0.9):
        limit = float(theory.tree_alpha_max(d, depth, eta_h))
        for alpha in (0.3 * limit, 0.9 * limit, 1.001 * limit):
            every = np.abs(np.linalg.eigvalsh(theory.tree_map(d, depth, eta_h, alpha))).max()
            means = spectral_radius(theory.tree_level_map(d, depth, eta_h, alpha))
            assert means == pytest.approx(every, abs=1e-9)
            assert (every > 1.0 + 1e-9) == (alpha > limit)


def test_a_tree_of_one_level_is_the_flat_fleet() -> None:
    tree = theory.tree_level_map(4, 1, 0.3, 0.2)
    assert tree == pytest.approx(theory.two_rate_map("jacobi", 0.3, 0.2, 0.8))
    root = theory.tree_root_variance(4, 1, 0.3, 1.0, 0.2, 2.0)
    assert root == pytest.approx(theory.easgd_stationary(0.3, 1.0, 0.2, 0.8, 2.0, 4)[2])


def test_the_laplacian_is_that_of_the_drawn_tree() -> None:
    """Root 0; inner 1, 2; leaves 3, 4 below 1 and 5, 6 below 2."""
    edges = [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)]
    expected = np.zeros((7, 7))
    for u, v in edges:
        expected[[u, v], [u, v]] += 1.0
        expected[[u, v], [v, u]] -= 1.0
    assert theory.tree_laplacian(2).tolist() == expected.tolist()
    spectrum = np.linalg.eigvalsh(theory.tree_laplacian(9))
    assert spectrum[-1] == pytest.approx(13.0)
    assert np.abs(spectrum - 7.0).min() < 1e-9


def test_the_roots_variance_is_that_of_all_nodes() -> None:
    m = theory.tree_map(3, 2, 0.2, 0.15)
    n, noise = len(m), np.zeros(len(m))
    noise[-9:] = 0.1**2 * 1.5
    moments = np.linalg.solve(np.eye(n * n) - np.kron(m, m), np.diag(noise).ravel())
    found = theory.tree_root_variance(3, 2, 0.1, 2.0, 0.15, 1.5)
    assert found == pytest.approx(moments[0], rel=1e-9)


# -- double well ---------------------------------------------------------------------------------


def energy_gradient(state: Array, rho: float) -> Array:
    """Of ``G``, with the gradients that the runtime's problem gives."""
    x, c = state[:-1], state[-1]
    noise = torch.Generator()
    own = [float(DoubleWell().gradient(torch.tensor([v]), noise)[0]) for v in x.tolist()]
    return np.array([*(own + rho * (x - c)), rho * (c - x).sum()])


@pytest.mark.parametrize("p", [2, 4])
@pytest.mark.parametrize("rho", [0.1, 0.5, 0.8])
def test_the_hessian_is_the_derivative_of_the_problems_gradient(rho: float, p: int) -> None:
    s, h = np.sqrt(1.0 - rho), 1e-3
    split = np.array([s, -s] * (p // 2) + [0.0])
    assert energy_gradient(split, rho) == pytest.approx(0.0, abs=1e-7)
    columns = [
        (energy_gradient(split + h * unit, rho) - energy_gradient(split - h * unit, rho)) / (2 * h)
        for unit in np.eye(p + 1)
    ]
    assert theory.double_well_hessian(rho, p) == pytest.approx(np.array(columns).T, abs=5e-4)


@pytest.mark.parametrize("p", [2, 4, 8])
def test_the_split_is_a_minimum_up_to_two_thirds_whatever_p(p: int) -> None:
    rho = np.array([0.01, 0.3, 0.66, 0.67, 0.9])
    least = np.linalg.eigvalsh(theory.double_well_hessian(rho, p))[:, 0]
    assert (least > 0).tolist() == [True, True, True, False, False]
    by_side = np.linalg.eigvals(theory.double_well_by_side(rho, p)).real.min(axis=-1)
    assert by_side == pytest.approx(least)
    if p == 2:
        assert theory.double_well_lambda_min(rho) == pytest.approx(least)


@pytest.mark.parametrize(("rho", "end"), [(0.66, 0.0), (0.67, 1.0)])
def test_workers_are_trapped_below_two_thirds(rho: float, end: float) -> None:
    """eta = .05, x = (1, -1), c = .01, 4e4 steps."""
    x, y, c, eta = 1.0, -1.0, 0.01, 0.05
    for _ in range(40000):
        pull, push = rho * (x - c), rho * (y - c)
        x, y = x - eta * (x * (x * x - 1) + pull), y - eta * (y * (y * y - 1) + push)
        c += eta * (pull + push)
    assert (abs(x), abs(c)) == pytest.approx((max(np.sqrt(1 - rho), end), end), abs=1e-6)
