"""Moments of ray_easgd.theory against recursions of the whole fleet, and against the runtime.

The recursions know nothing of the closed forms: they square the iteration as docs/mathematics.md, 2
writes it, over all workers and the center.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ray_easgd import theory
from ray_easgd.algorithms import METHODS
from ray_easgd.simulator import GammaQuadratic, Problem, Quadratic, Simulation
from ray_easgd.theory import spectral_radius
from tests import linear_maps as maps
from tests.linear_maps import Array

RANDOM = np.random.default_rng(20160506)


def covariance(m: Array, noise: Array, steps: int) -> Array:
    """``S <- M S M^T + N`` from nothing."""
    s = np.zeros_like(m)
    for _ in range(steps):
        s = m @ s @ m.T + noise
    return s


def stationary(m: Array, noise: Array) -> Array:
    """``S = M S M^T + N`` as one linear system."""
    n = len(m)
    solved = np.linalg.solve(np.eye(n * n) - np.kron(m, m), noise.ravel())
    return np.asarray(solved, dtype=np.float64).reshape(n, n)


def on_workers(p: int, variance: float) -> Array:
    return np.diag([variance] * p + [0.0])


# -- lemma 7.1 and what follows ------------------------------------------------------------------


@pytest.mark.parametrize("_", range(40))
def test_lemma_7_1_is_the_recursion_of_all_workers_and_the_center(_: int) -> None:
    p, t = int(RANDOM.integers(1, 9)), int(RANDOM.integers(0, 12))
    eta, h, alpha = RANDOM.uniform(0.05, 1.5), RANDOM.uniform(0.3, 2.0), RANDOM.uniform(-0.3, 0.6)
    x, c, sigma2 = RANDOM.normal(size=p), RANDOM.normal(), RANDOM.uniform(0.1, 3.0)
    m = maps.jacobi(p, 1.0 - eta * h, alpha, alpha)
    mean = (np.linalg.matrix_power(m, t) @ [*x, c])[-1]
    var = covariance(m, on_workers(p, eta**2 * sigma2), t)[-1, -1]
    found = theory.easgd_center_mean(t, eta, h, alpha, p, x.mean(), c)
    assert found == pytest.approx(mean, rel=1e-9, abs=1e-10)
    found = theory.easgd_center_var(t, eta, h, alpha, p, sigma2)
    assert found == pytest.approx(var, rel=1e-8, abs=1e-14)


def test_lemma_7_1_where_the_two_roots_are_one() -> None:
    """No step and no pull: the only case, as s^2 - 4 k is a sum of squares."""
    assert np.array(theory.easgd_roots(0.0, 1.0, 0.0, 4)).tolist() == [1.0, 1.0]
    assert theory.easgd_center_mean(5, 0.0, 1.0, 0.0, 4, 2.0, 3.0) == 3.0
    assert theory.easgd_center_var([5, np.inf], 0.0, 1.0, 0.0, 4).tolist() == [0.0, 0.0]


def test_the_four_inequalities_are_the_spectrum() -> None:
    eta, beta = RANDOM.uniform(-0.5, 3.0, (2, 20000))
    p = RANDOM.integers(1, 20, 20000)
    radius = spectral_radius(theory.two_rate_map("jacobi", eta, beta / p, beta))
    assert (theory.easgd_stable_sync(eta, 1.0, beta, p) == (radius < 1.0)).all()


def test_the_conditions_for_any_two_rates_are_the_spectrum() -> None:
    eta, alpha, beta = RANDOM.uniform(-1.0, 3.0, (3, 20000))
    radius = np.abs(np.linalg.eigvals(theory.two_rate_map("jacobi", eta, alpha, beta))).max(-1)
    assert (theory.easgd_stable_mean(eta, alpha, beta) == (radius < 1.0)).all()


@pytest.mark.parametrize(
    ("eta", "h", "alpha", "beta", "p"),
    [(0.5, 1, 0.225, 0.9, 4), (0.3, 2, 0.1, 0.5, 3), (0.2, 1, -0.1, 1.2, 2), (0.4, 1, 0.9, 0.4, 1)],
)
def test_stationary_moments_solve_the_kronecker_system(
    eta: float, h: float, alpha: float, beta: float, p: int
) -> None:
    m = maps.jacobi(p, 1.0 - eta * h, alpha, beta / p)
    s = stationary(m, on_workers(p, 2.0 * eta**2))
    yy, yc, cc, xx = theory.easgd_stationary(eta, h, alpha, beta, 2.0, p)
    expected = (s[:p, :p].mean(), s[:p, p].mean(), s[p, p], s[0, 0])
    assert (yy, yc, cc, xx) == pytest.approx(expected, rel=1e-11)


def test_the_stationary_variance_is_the_papers_and_the_limit_of_lemma_7_1() -> None:
    p = np.array([1, 4, 16])
    gamma, phi = theory.easgd_roots(0.3, 1.0, 0.9 / p, p)
    paper = (0.9 * 0.3) ** 2 / ((1 - gamma**2) * (1 - phi**2)) * (1 + gamma * phi)
    paper = paper / (1 - gamma * phi) * 2.0 / p
    assert theory.easgd_stationary(0.3, 1.0, 0.9 / p, 0.9, 2.0, p)[2] == pytest.approx(paper)
    assert theory.easgd_center_var(np.inf, 0.3, 1.0, 0.9 / p, p, 2.0) == pytest.approx(paper)
    assert theory.easgd_center_mean(np.inf, 0.3, 1.0, 0.9 / p, p).tolist() == [0.0] * 3


def test_corollary_7_1_is_the_limit_of_many_workers() -> None:
    p = 1e8
    many = p * theory.easgd_stationary(0.3, 2.0, 0.7 / p, 0.7, 1.5, p)[2]
    assert theory.easgd_limit_p(0.3, 2.0, 0.7, 1.5) == pytest.approx(many, rel=1e-6)


@pytest.mark.parametrize(("t", "expected"), [(100, 0.05946), (1000, 0.062196), (10000, 0.0624696)])
def test_the_average_of_centers_reaches_the_fisher_bound(t: int, expected: float) -> None:
    """On (y, c, sum of c): lemma 7.2 at p = 4, h = 2, eta = .5, alpha = .1."""
    m = np.zeros((3, 3))
    m[:2, :2] = theory.two_rate_map("jacobi", 1.0, 0.1, 0.4)
    m[2, 1:] = 1.0
    found = covariance(m, np.diag([0.25 / 4, 0.0, 0.0]), t)[2, 2] / t
    assert found == pytest.approx(expected, rel=2e-4)
    assert found == pytest.approx(theory.double_average_var(1, 4, 2), rel=6.0 / t)


@pytest.mark.parametrize("sigma2", [0.0, 1.0])
def test_the_bound_of_theorem_7_1_holds_on_a_quadratic(sigma2: float) -> None:
    """Curvatures 1 to 4, exactly: lhs <= M rhs + r at each step."""
    p, curvatures = 4, np.array([1.0, 2.0, 3.0, 4.0])
    bound, noise = theory.strongly_convex_bound(1, 4, 0.324, 0.1, 0.4, p, sigma2)
    state = np.array([maps.jacobi(p, 1.0 - 0.324 * h, 0.1, 0.1) for h in curvatures])
    start = RANDOM.normal(size=(4, p + 1))
    s = start[:, :, None] * start[:, None, :]
    each = on_workers(p, 0.324**2 * sigma2 / 4)

    def measured(s: Array) -> Array:
        total = s.sum(axis=0)
        return np.array([total[:p, :p].mean(), np.diag(total)[:p].mean(), total[p, p]])

    for _ in range(30):
        after = state @ s @ state.transpose(0, 2, 1) + each
        assert (measured(after) <= bound @ measured(s) + noise + 1e-12).all()
        s = after


# -- thesis 5.1 ----------------------------------------------------------------------------------


def squared(m: Array) -> Array:
    """``m`` on (aa, ab, bb), from the Kronecker square on (aa, ab, ba, bb)."""
    k = np.kron(m, m)[[0, 1, 3]]
    folded = np.column_stack([k[:, 0], k[:, 1] + k[:, 2], k[:, 3]])
    return folded.astype(np.float64)


@pytest.mark.parametrize(("e", "delta"), [(0.1, 0.9), (1.4, -0.3), (0.25, 1 / 3)])
def test_msgds_moments_are_the_square_of_its_drift(e: float, delta: float) -> None:
    drift = maps.msgd(e, delta)
    assert theory.msgd_drift(e, delta) == pytest.approx(drift)
    assert theory.msgd_second_moment(e, delta) == pytest.approx(squared(drift))
    s = stationary(drift, np.full((2, 2), (e / 2.0) ** 2 * 3.0))
    found = theory.msgd_stationary(e / 2.0, 2.0, delta, 3.0)
    assert found == pytest.approx((s[1, 1], s[0, 0], s[0, 1]), rel=1e-10)


@pytest.mark.parametrize(("e", "alpha", "beta"), [(0.1, 0.225, 0.9), (0.5, -0.05, 1.2)])
def test_easgds_moments_are_the_square_of_its_mean_system(
    e: float, alpha: float, beta: float
) -> None:
    mean = maps.mean_system(maps.jacobi(3, 1.0 - e, alpha, beta / 3), 3)
    assert theory.easgd_second_moment(e, alpha, beta) == pytest.approx(squared(mean))
    assert theory.two_rate_map("jacobi", e, alpha, beta) == pytest.approx(mean)


@pytest.mark.parametrize("e", [0.01, 0.25, 0.8, 1.5, 3.0])
def test_no_other_momentum_is_faster_than_the_best(e: float) -> None:
    best = theory.msgd_opt_delta(e)
    radius = spectral_radius(theory.msgd_drift(e, best + np.linspace(-0.3, 0.3, 601)))
    assert radius.argmin() == 300
    assert radius[300] == pytest.approx(abs(1 - np.sqrt(e)), abs=1e-8)


@pytest.mark.parametrize(("e", "beta"), [(0.1, 0.9), (0.5, 0.9), (0.01, 0.9), (0.9, 0.3)])
def test_no_other_moving_rate_is_faster_than_the_best(e: float, beta: float) -> None:
    best = theory.easgd_opt_alpha(e, beta)
    rates = best + np.linspace(-0.3, 0.3, 601)
    radius = spectral_radius(theory.two_rate_map("jacobi", e, rates, beta))
    assert radius.argmin() == 300
    assert radius[300] == pytest.approx(abs(1 - np.sqrt(beta * e)), abs=1e-8)


def test_msgd_is_stable_where_it_is_said_to_be() -> None:
    e, delta = RANDOM.uniform(-0.5, 4.0, 20000), RANDOM.uniform(-1.5, 1.5, 20000)
    finite = np.isfinite(theory.msgd_stationary(e, 1.0, delta, 1.0)[0])
    assert (finite == (np.abs(np.linalg.eigvals(theory.msgd_drift(e, delta))).max(-1) < 1)).all()


def test_the_variance_at_the_best_momentum_is_half_of_sgds_at_equal_rate() -> None:
    """``s (2 - 2 s + s^2) / (2 - s)^3``, and EASGD at alpha* the same in ``s = sqrt(beta e)``."""
    e, beta = np.array([0.0025, 0.25, 0.64]), 0.9
    for s, moment in (
        (np.sqrt(e), theory.msgd_stationary(e, 1.0, theory.msgd_opt_delta(e), 1.0)[0]),
        (
            np.sqrt(beta * e),
            theory.easgd_stationary(e, 1.0, theory.easgd_opt_alpha(e, beta), beta, 1.0, 1)[2],
        ),
    ):
        assert moment == pytest.approx(s * (2 - 2 * s + s**2) / (2 - s) ** 3, rel=1e-9)
    ratio = theory.msgd_stationary(e, 1.0, theory.msgd_opt_delta(e), 1.0)[0]
    ratio = ratio / theory.sgd_stationary(np.sqrt(e), 1.0, 1.0)
    assert ratio == pytest.approx([0.5003, 0.5556, 0.7222], abs=1e-4)


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.6), (-0.2, 1.1)])
def test_the_center_is_a_heavy_ball(alpha: float, beta: float) -> None:
    eta, h, m = 0.3, 1.5, theory.two_rate_map("jacobi", 0.45, alpha, beta)
    noise, states = eta * RANDOM.normal(size=30), [np.array([1.0, -0.5])]
    for xi in noise:
        states.append(m @ states[-1] + [xi, 0.0])
    c = np.array(states)[:, 1]
    lr, momentum = theory.easgd_as_momentum(eta, h, alpha, beta)
    step = -lr * h * c[1:-1] + beta * noise[:-1] + momentum * (c[1:-1] - c[:-2])
    assert c[2:] == pytest.approx(c[1:-1] + step, abs=1e-12)


# -- thesis 5.2 ----------------------------------------------------------------------------------


def mean_square(free: Array, times_a: Sequence[Array], mu: float, s: float) -> Array:
    """``E M (x) M`` of ``M = free + sum_i a_i times_a[i]`` with independent ``a_i``."""
    mean = free + mu * sum(times_a)
    spread = sum(np.kron(b, b) for b in times_a)
    total = np.kron(mean, mean) + (s - mu**2) * spread
    return np.asarray(total, dtype=np.float64)


def steps_of(p: int, delta: float, alpha: float, beta: float) -> tuple[Array, list[Array]]:
    """EAMSGD on (v^1, x^1, .., v^p, x^p, c): the part free of the noises, and one for each."""
    free, noisy = np.zeros((2 * p + 1, 2 * p + 1)), []
    free[-1, -1] = 1.0 - beta
    for i in range(p):
        v, x = 2 * i, 2 * i + 1
        free[v, v] = free[x, v] = delta
        free[x, x], free[x, -1], free[-1, x] = 1.0 - alpha, alpha, beta / p
        b = np.zeros_like(free)
        b[[v, x], v], b[[v, x], x] = -delta, -1.0
        noisy.append(b)
    return free, noisy


def read(s: Array, p: int) -> list[float]:
    """The nine moments, from the matrix of all."""
    other = 2 if p > 1 else 0
    pairs = [s[0, other], s[0, other + 1], s[1, other + 1]] if p > 1 else [0.0] * 3
    return [s[0, 0], s[0, 1], s[1, 1], *pairs, s[0, -1], s[1, -1], s[-1, -1]]


def spread_out(moments: Array, p: int) -> Array:
    """A matrix of all moments, alike for all workers and all pairs."""
    vv, vx, xx, vv2, vx2, xx2, vc, xc, cc = moments
    own, pair = np.array([[vv, vx], [vx, xx]]), np.array([[vv2, vx2], [vx2, xx2]])
    s = np.zeros((2 * p + 1, 2 * p + 1))
    s[:-1, :-1] = np.kron(np.ones((p, p)), pair) + np.kron(np.eye(p), own - pair)
    s[-1, :-1] = s[:-1, -1] = [vc, xc] * p
    s[-1, -1] = cc
    return s


LAM, OM, ETA = 0.7, 1.3, 0.4
MU = ETA * LAM / OM
S = (ETA / OM) ** 2 * LAM * (LAM + 1)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("delta", [0.0, 0.6])
def test_eamsgds_nine_moments_are_the_kronecker_square_of_the_fleet(p: int, delta: float) -> None:
    operator = mean_square(*steps_of(p, delta, 0.2, 0.5), MU, S)
    m = theory.eamsgd_mult(ETA, delta, 0.2, 0.5, LAM, OM, p)
    for unit in np.eye(9):
        if p == 1 and unit[3:6].any():
            continue
        after = (operator @ spread_out(unit, p).ravel()).reshape(2 * p + 1, 2 * p + 1)
        assert m @ unit == pytest.approx(read(after, p), abs=1e-12)
    if p > 1:
        assert spectral_radius(m) == pytest.approx(np.abs(np.linalg.eigvals(operator)).max())


@pytest.mark.parametrize("p", [1, 2, 5])
def test_easgds_four_moments_are_eamsgds_without_momentum(p: int) -> None:
    keep = [2, 5, 7, 8]
    nine = theory.eamsgd_mult(ETA, 0.0, 0.2, 0.5, LAM, OM, p)
    four = theory.easgd_mult(ETA, 0.2, 0.5, LAM, OM, p)
    assert four == pytest.approx(nine[np.ix_(keep, keep)], abs=1e-12)


@pytest.mark.parametrize("p", [1, 4])
def test_msgds_three_moments_are_eamsgds_of_a_worker_alone(p: int) -> None:
    """Of mini-batches of p: Gamma(p lam, p om)."""
    nine = theory.eamsgd_mult(ETA, 0.6, 0.0, 0.0, p * LAM, p * OM, 1)
    three = theory.msgd_mult(ETA, 0.6, LAM, OM, p)
    assert three == pytest.approx(nine[:3, :3], abs=1e-12)
    assert theory.sgd_mult_rate(ETA, LAM, OM, p) == pytest.approx(
        theory.msgd_mult(ETA, 0.0, LAM, OM, p)[2, 2]
    )


def test_no_other_learning_rate_is_faster_than_sgds_best() -> None:
    for lam, p in ((0.5, 1), (0.5, 16), (10.0, 4)):
        eta, rate = theory.sgd_mult_opt(lam, 2.0, p)
        rates = theory.sgd_mult_rate(eta * np.linspace(0.0, 2.0, 201), lam, 2.0, p)
        assert rates.argmin() == 100
        assert rates[[0, 100, 200]] == pytest.approx([1.0, float(rate), 1.0])


# -- the runtime's own fleet -----------------------------------------------------------------------


def centers(method: str, problem: Problem, rounds: int, **options: Any) -> torch.Tensor:
    """The center of a simulated fleet in lockstep after some rounds, a coordinate a repetition."""
    algorithm = replace(METHODS[method], rounds="together", order="at_snapshot")
    fleet = Simulation(problem, algorithm, num_workers=3, period=1, lead=0, seed=11, **options)
    fleet.run(seconds=rounds - 1)  # an exchange of time t makes the center of time t + 1
    return fleet.center.double()


def agree(samples: torch.Tensor, expected: Any) -> None:
    """Within five standard errors of the mean."""
    error = float(samples.std()) / len(samples) ** 0.5
    assert float(samples.mean()) == pytest.approx(float(expected), abs=5.0 * error)
    assert error < 0.05 * float(expected)


@pytest.mark.parametrize(("rounds", "alpha"), [(2, 0.2), (6, 0.2), (6, 0.35)])
def test_a_simulated_fleet_has_the_moments_of_lemma_7_1(rounds: int, alpha: float) -> None:
    problem = Quadratic(h=2.0, sigma=1.5, x0=1.0, size=20000, dtype=torch.float64)
    c = centers("easgd", problem, rounds, lr=0.2, fixed_rate=alpha)
    mean = float(theory.easgd_center_mean(rounds, 0.2, 2.0, alpha, 3))
    var = float(theory.easgd_center_var(rounds, 0.2, 2.0, alpha, 3, 1.5**2))
    assert float(c.mean()) == pytest.approx(mean, abs=5.0 * (var / 20000) ** 0.5)
    agree((c - mean).square(), var)


@pytest.mark.parametrize(
    ("method", "momentum", "matrix", "start"),
    [
        ("easgd", None, theory.easgd_mult(0.3, 0.2, 0.6, 0.5, 0.5, 3), np.ones(4)),
        (
            "eamsgd",
            0.3,
            theory.eamsgd_mult(0.3, 0.3, 0.2, 0.6, 0.5, 0.5, 3),
            np.array([0, 0, 1, 0, 0, 1, 0, 1, 1.0]),
        ),
    ],
)
def test_a_simulated_fleet_has_the_moments_of_multiplicative_noise(
    method: str, momentum: float | None, matrix: Array, start: Array
) -> None:
    problem = GammaQuadratic(lam=0.5, om=0.5, size=40000)
    c = centers(method, problem, 5, lr=0.3, fixed_rate=0.2, momentum=momentum)
    agree(c.square(), (np.linalg.matrix_power(matrix, 5) @ start)[-1])
