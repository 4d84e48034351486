"""ray_easgd.theory: its check values, its domains, and that it broadcasts."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ray_easgd import theory
from ray_easgd.theory import spectral_radius

INF = float("inf")

SIGNATURES = [
    "easgd_roots(eta, h, alpha, p)",
    "easgd_center_mean(t, eta, h, alpha, p, x0, center0)",
    "easgd_center_var(t, eta, h, alpha, p, sigma2)",
    "easgd_stable_sync(eta, h, beta, p)",
    "easgd_stationary(eta, h, alpha, beta, sigma2, p)",
    "easgd_limit_p(eta, h, beta, sigma2)",
    "double_average_var(sigma2, p, h)",
    "strongly_convex_bound(mu, L, eta, alpha, beta, p, sigma2)",
    "easgd_rr_alpha_max(eta, h)",
    "easgd_rr_map(p, eta, alpha)",
    "admm_rr_map(p, eta, rho)",
    "msgd_opt_delta(eta_h)",
    "msgd_second_moment(eta_h, delta)",
    "msgd_stationary(eta, h, delta, sigma_p2)",
    "easgd_opt_alpha(eta_h, beta, p)",
    "easgd_second_moment(eta_h, alpha, beta)",
    "easgd_as_momentum(eta, h, alpha, beta)",
    "sgd_mult_rate(eta, lam, om, p)",
    "sgd_mult_opt(lam, om, p)",
    "msgd_mult(eta, delta, lam, om, p)",
    "easgd_mult(eta, alpha, beta, lam, om, p)",
    "eamsgd_mult(eta, delta, alpha, beta, lam, om, p)",
    "easgd_mult_best_p(lam, om, beta)",
    "double_well_hessian(rho, p)",
    "double_well_lambda_min(rho)",
    "tree_laplacian(d, depth)",
    "tree_alpha_max(d, depth, eta_h)",
    "two_rate_map(scheme, eta_h, a, B)",
    "downpour_rr_eta_max(p)",
]
"""Of the table in docs/mathematics.md, 6."""


@pytest.mark.parametrize("written", SIGNATURES)
def test_a_function_takes_its_arguments_in_the_order_of_the_table(written: str) -> None:
    name, _, arguments = written.removesuffix(")").partition("(")
    parameters = inspect.signature(getattr(theory, name)).parameters.values()
    assert [p.name for p in parameters] == arguments.split(", ")
    assert {p.kind for p in parameters} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


def test_every_exported_name_is_there_and_nothing_heavy_comes_with_it() -> None:
    assert all(hasattr(theory, name) for name in theory.__all__)
    code = (
        "import sys, ray_easgd.theory; sys.exit(bool({'torch', 'ray', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- check values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (theory.easgd_roots(0.5, 1, 0.2, 4), (0.6531128874, -0.1531128874)),
        (theory.easgd_stationary(0.5, 1, 0.225, 0.9, 1, 4)[2:], (0.0658244681, 0.2775294729)),
        (
            theory.easgd_stationary(0.5, 1, 0.225, 0.9, 4, 4)[:3],
            (0.29875887, 0.10372340, 0.26329787),
        ),
        (theory.easgd_limit_p(0.5, 1, 0.9, 1), 0.3014354067),
        (theory.easgd_limit_p(1, 1, 1, 1), 1.0),
        (theory.double_average_var(1, 4, 2), 0.0625),
        (theory.easgd_rr_alpha_max(1, 1), 2 / 3),
        (theory.msgd_opt_delta(0.25), 1 / 3),
        (theory.msgd_stationary(0.25, 1, 1 / 3, 1)[0], 0.1851851852),
        (theory.easgd_opt_alpha([0.1, 0.9], 0.9), (-0.4, 0.0)),
        (theory.easgd_as_momentum(0.3, 1, 0.1, 0.6), (0.18, 0.18)),
        (theory.sgd_mult_opt(0.5, 0.5, 4), (2 / 3, 1 / 3)),
        (theory.double_well_lambda_min(0.5), 0.2928932188),
        (theory.tree_alpha_max(16), 2 / 21),
        (theory.downpour_rr_eta_max(4), 0.4450418679),
    ],
)
def test_a_check_value(found: Any, expected: Any) -> None:
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("found", "expected", "within"),
    [
        (theory.sgd_stationary(0.1, 1, 1), 0.05263, 5e-6),
        (theory.easgd_stationary(0.1, 1, 0.225, 0.9, 1, 4)[2], 0.010456, 5e-7),
        (theory.msgd_opt_delta([1.5, 3.0]), [-0.1010, -0.2679], 5e-5),
        (theory.easgd_opt_alpha([0.5, 0.01], 0.9), [-0.0584, -0.7203], 5e-5),
        (theory.double_well_lambda_min([0.1, 1 / 3, 0.5, 0.6, 2 / 3, 0.7]),
         [0.1876, 0.4226, 0.2929, 0.1282, 0.0, -0.0677], 5e-5),
        (theory.tree_alpha_max(16, 2, 0.5), 0.094, 5e-4),
        (theory.downpour_rr_eta_max([1, 2, 3, 4, 8, 16]),
         [2.0, 1.0, 0.618, 0.445, 0.2091, 0.1013], 5e-5),
        (theory.downpour_factor(0.01, [1, 4, 16, 64], 4), [0.960, 0.842, 0.406, -0.898], 5e-4),
        (theory.downpour_factor(0.05, 16, 4), -1.239, 5e-4),
    ],
)  # fmt: skip
def test_a_number_of_the_text(found: Any, expected: Any, within: float) -> None:
    assert found == pytest.approx(np.array(expected), abs=within)


@pytest.mark.parametrize(("p", "stable"), [(1, False), (10, True)])
def test_the_four_inequalities(p: int, *, stable: bool) -> None:
    assert bool(theory.easgd_stable_sync(0.5, 1, 0.9, p)) is stable


DEFECTIVE = 1e-4
"""What a general solver makes of a triple eigenvalue: the cube root of the rounding."""


@pytest.mark.parametrize(
    ("m", "radius", "within"),
    [
        (theory.msgd_drift(0.25, 1 / 3), 0.5, 1e-14),
        (theory.msgd_second_moment(0.25, 1 / 3), 0.25, DEFECTIVE),
        (theory.two_rate_map("jacobi", 0.1, -0.4, 0.9), 0.7, 1e-14),
        (theory.easgd_second_moment(0.1, -0.4, 0.9), 0.49, DEFECTIVE),
        (theory.strongly_convex_bound(1, 4, 0.324, 0.1, 0.4, 4, 1)[0], 0.71867, 5e-6),
        (theory.msgd_mult(0.1, 0, 0.5, 0.5, 1), 0.83, 1e-12),
        (theory.two_rate_map("full_gauss_seidel", 0.1, 1, 4), 0.6, 1e-12),
        (theory.tree_laplacian(16), 21.0, 1e-9),
        (theory.easgd_rr_map(3, 0.001, 0.0025), 0.999269748, 1e-9),
        (theory.easgd_rr_map(8, 0.001, 0.0025), 0.999115698, 1e-9),
        (theory.admm_rr_map(2, 0.001, 2.5), 0.999001872, 1e-9),
        (theory.admm_rr_map(3, 0.001, 2.5), 1.000973885, 1e-9),
        (theory.admm_rr_map(8, 0.001, 2.5), 1.002257866, 1e-9),
        (theory.easgd_period_map(0.05, 0.225, 0.9, [1, 4, 16, 64]),
         [0.9604, 0.8524, 0.5462, 0.1606], 5e-5),
        (theory.tree_level_map(16, 2, [0.01, 0.1, 0.5], 0.9 / 17),
         [0.99063, 0.907045, 0.570543], 5e-6),
        (theory.tree_level_map(16, 2, [0.01, 0.1, 0.5], 0.9 / 256),
         [0.99075, 0.95767, 0.95635], 5e-6),
        (theory.two_rate_map("jacobi", [0.01, 0.1, 0.5], 0.9 / 16, 0.9),
         [0.99059, 0.90652, 0.55501], 5e-6),
        (theory.eamsgd_drift([0.01, 0.1, 0.5], [0.84, 0.6, 0.43], 0.225, 0.9),
         [0.911, 0.724, 0.388], 1e-3),
        (theory.eamsgd_drift([0.01, 0.1, 0.5], 0.99, 0.225, 0.9), [0.9891, 0.9345, 0.6415], 5e-5),
        (theory.msgd_mult([0.05, 0.1, 0.2, 0.5], [0.68, 0.566, 0.36, -0.369], 0.5, 0.5, 1),
         [0.756, 0.705, 0.671, 0.675], 1e-3),
        (theory.msgd_mult([0.05, 0.1, 0.2, 0.5], 0, 0.5, 0.5, 1), [0.9075, 0.83, 0.72, 0.75], 1e-9),
        (theory.easgd_mult(0.367, 0.165, 9 * 0.165, 0.5, 0.5, 9), 0.54640, 1e-5),
        (theory.easgd_mult(0.502, 0.151, 9 * 0.151, 1, 1, 9), 0.41175, 1e-5),
        (theory.eamsgd_mult(0.62, -0.45, 0.225, 0.9, 0.5, 0.5, 4), 0.562, 1e-3),
        (theory.eamsgd_mult(0.11, 0.75, 0.9, 0.9, 0.5, 0.5, 1), 0.7286, 1e-3),
    ],
)  # fmt: skip
def test_a_spectral_radius(m: Any, radius: Any, within: float) -> None:
    assert spectral_radius(m) == pytest.approx(np.array(radius), abs=within)


def test_admm_first_decays_and_then_diverges() -> None:
    """mathematics.md, 3.2: p = 3, from 1000, at 3e3, 3e4 and 6e4 turns."""
    start = np.array([0.0, 1000.0] * 3 + [1000.0])
    turned = theory.admm_rr_map(3, 0.001, 2.5)
    centers = [np.linalg.matrix_power(turned, t // 3)[-1] @ start for t in (3000, 30000, 60000)]
    assert centers == pytest.approx([368.4, 425, -5.29e6], rel=2e-3)


@pytest.mark.parametrize(("p", "highest"), [(3, 0.99997), (8, 0.99994)])
def test_where_admm_diverges_easgd_does_not(p: int, highest: float) -> None:
    """Over the grid of the paper's figure 1."""
    eta, rho = np.meshgrid(np.linspace(0.0005, 0.01, 12), np.linspace(0.1, 10.0, 12))
    assert spectral_radius(theory.easgd_rr_map(p, eta, eta * rho)).max() < highest
    assert spectral_radius(theory.admm_rr_map(p, eta, rho)).max() > 1.0


def test_the_variance_at_the_root_of_a_tree_is_that_of_a_flat_fleet_as_large() -> None:
    tree = theory.tree_root_variance(16, 2, 0.1, 1, 0.9 / 17, 1)
    flat = theory.easgd_stationary(0.1, 1, 0.9 / np.array([16, 256]), 0.9, 1, np.array([16, 256]))
    assert (tree, *flat[2][::-1]) == pytest.approx((1.8084e-4, 2.0074e-4, 3.0432e-3), rel=1e-4)


@pytest.mark.parametrize(
    ("scheme", "limits"),
    [
        ("jacobi", [0.364, 1.182, 1.591, 1.898]),
        ("gauss_seidel_center_first", [1.836, 1.918, 1.959, 1.989]),
        ("gauss_seidel_worker_first", [1.836, 1.918, 1.959, 1.989]),
    ],
)
def test_the_largest_stable_learning_rate_of_a_scheme(scheme: str, limits: list[float]) -> None:
    p = np.array([1, 2, 4, 16])

    def radius(eta_h: Any) -> Any:
        return spectral_radius(theory.two_rate_map(scheme, eta_h, 0.9 / p, 0.9))

    found = theory.stable_up_to(radius, np.full(4, 3.0))
    assert found == pytest.approx(limits, abs=1e-3)


# -- multiplicative noise: the optima ----------------------------------------------------------


def test_the_best_number_of_workers_is_finite() -> None:
    """At lam = 10 the reference searched p in steps of 6 and found 28; every p tried, it is 29."""
    lam = np.array([0.5, 1.0, 2.0, 10.0])
    p, rate = theory.easgd_mult_best_p(lam, lam, 0.9)
    assert p.tolist() == [6, 7, 9, 29]
    assert rate == pytest.approx([0.57419, 0.43168, 0.29451, 0.08683], abs=6e-6)


def test_the_best_number_of_workers_is_infinite_where_the_center_is_slow() -> None:
    """Where ``(1 - beta)^2 > 1 / (1 + lam)`` more workers only ever help, towards that rate."""
    p, rate = theory.easgd_mult_best_p([0.4, 2.0, 0.5], 1.0, [0.1, 0.4, 1.9])
    assert (p == INF).all()
    assert rate == pytest.approx([0.81, 0.36, 0.81])
    _, rates = theory.easgd_mult_best_eta(0.4, 1.0, 0.1, 4.0 ** np.arange(8))
    assert (np.diff(rates) < 0).all()
    assert rates[-1] == pytest.approx(0.81, abs=5e-5)


def test_the_rate_of_easgd_by_workers() -> None:
    p = np.array([1, 2, 4, 5, 7, 8, 16, 64, 1024])
    _, rate = theory.easgd_mult_best_eta(0.5, 0.5, 0.9, p)
    expected = [0.85621, 0.65216, 0.58549, 0.57710, 0.57429, 0.57611, 0.60257, 0.64838, 0.66550]
    assert rate == pytest.approx(expected, abs=6e-6)


def test_the_floor_of_easgd_with_many_workers() -> None:
    mu, rate = theory.easgd_mult_limit([0.5, 1.0, 2.0, 10.0])
    assert rate == pytest.approx([22 / 49, 0.34044, 0.23987, 0.07899], abs=6e-6)
    assert mu[0] == pytest.approx(3 / 7, abs=1e-6)
    many = spectral_radius(theory.easgd_mult(3 / 7, 2 / 7, 9 / 7, 0.5, 0.5, 1e9))
    assert many == pytest.approx(22 / 49, abs=2e-5)


def test_momentum_brings_nothing_at_the_best_learning_rate() -> None:
    lam, p = np.meshgrid([0.5, 1.0, 2.0, 10.0], [1, 4, 16, 1000], indexing="ij")
    eta, rate = theory.sgd_mult_opt(lam, lam, p)
    factors, deltas = np.meshgrid(np.linspace(0.7, 1.3, 13), np.linspace(-0.4, 0.4, 17))
    around = factors[..., None, None] * eta, deltas[..., None, None]
    radius = spectral_radius(theory.msgd_mult(*around, lam, lam, p))
    assert (radius >= rate - 1e-9).all()
    assert radius.min(axis=(0, 1)) == pytest.approx(rate, abs=1e-9)


@pytest.mark.parametrize(("p", "limits"), [(1, [0.667, 0.404, 0.184, 0.063]),
                                           (1e9, [2.0, 1.5, 1.357, 1.336])])  # fmt: skip
def test_momentum_shrinks_the_stable_range(p: float, limits: list[float]) -> None:
    delta = np.array([0.0, 0.5, 0.9, 0.99])

    def radius(eta: Any) -> Any:
        return spectral_radius(theory.msgd_mult(eta, delta, 0.5, 0.5, p))

    assert theory.stable_up_to(radius, np.full(4, 2.5)) == pytest.approx(limits, abs=1e-3)


@pytest.mark.parametrize(("lam", "limits"), [(0.5, [0.667, 0.699, 0.682, 0.669]),
                                             (1.0, [0.864, 0.972, 0.997, 0.999])])  # fmt: skip
def test_elastic_coupling_barely_widens_the_stable_range(lam: float, limits: list[float]) -> None:
    p = np.array([2, 4, 16, 64])

    def radius(eta: Any) -> Any:
        return spectral_radius(theory.easgd_mult(eta, 0.9 / p, 0.9, lam, lam, p))

    assert theory.stable_up_to(radius, np.full(4, 2.0)) == pytest.approx(limits, abs=2.5e-3)


# -- points that are not stable -----------------------------------------------------------------


@pytest.mark.parametrize(
    "moments",
    [
        theory.easgd_stationary(0.5, 1, 0.9, 0.9, 1, 1),
        theory.easgd_stationary(0.5, 1, 0.2, 0.0, 1, 4),
        theory.easgd_limit_p(2.0, 1, 0.9, 1),
        theory.easgd_limit_p(0.5, 1, 2.1, 1),
        theory.msgd_stationary(0.5, 1, 2.1, 1),
        theory.msgd_stationary(1.4, 1, 0.9, 1),
        theory.sgd_stationary(2.0, 1, 1),
        theory.easgd_center_var(INF, 0.5, 1, 0.9, 4),
        theory.easgd_center_mean(INF, 0.5, 1, 0.9, 4),
        theory.tree_root_variance(16, 2, 0.1, 1, 0.0953, 1),
    ],
)
def test_a_point_that_is_not_stable_has_infinite_moments(moments: Any) -> None:
    assert np.all(np.asarray(moments) == INF)


def test_workers_may_run_away_from_each_other_while_the_center_is_stable() -> None:
    yy, yc, cc, xx = theory.easgd_stationary(0.1, 1, -0.4, 0.9, 1, 4)
    assert np.isfinite([yy, yc, cc]).all()
    assert xx == INF
    assert theory.easgd_stationary(0.1, 1, -0.4, 0.9, 1, 1)[3] < INF
    with pytest.warns(UserWarning, match="run away"):
        theory.easgd_opt_alpha(0.1, 0.9, 4)
    assert theory.easgd_opt_alpha(0.3, 0.9, 4) > -0.3  # no warning: beta < 4 eta_h


def test_no_moving_rate_will_do_beyond_a_learning_rate_of_two() -> None:
    assert np.isnan(theory.easgd_rr_alpha_max([-0.1, 2.1, 5.0], 1)).all()
    assert theory.easgd_rr_alpha_max(2.0, 1) == 0.0
    assert theory.tree_alpha_max(16, 2, 2.0) == 0.0


# -- domains -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: theory.easgd_roots(0.5, 1, 0.2, 0), "p = 0: must be >= 1"),
        (lambda: theory.easgd_roots(0.5, 0, 0.2, 4), "h = 0: must be > 0"),
        (lambda: theory.easgd_roots(float("nan"), 1, 0.2, 4), "eta = nan: must be a number"),
        (lambda: theory.easgd_stable_sync(0.5, 1, 0.9, [1, 0.5]), "p = 0.5: must be >= 1"),
        (lambda: theory.easgd_center_mean(-1, 0.5, 1, 0.2, 4), "t = -1: must be >= 0"),
        (lambda: theory.easgd_center_var(3, 0.5, 1, 0.2, 4, -1), "sigma2 = -1: must be >= 0"),
        (lambda: theory.easgd_stationary(0.5, 1, 0.2, 0.9, -2, 4), "sigma2 = -2: must be >= 0"),
        (lambda: theory.easgd_limit_p(0.5, -1, 0.9, 1), "h = -1: must be > 0"),
        (lambda: theory.double_average_var(1, 0, 2), "p = 0: must be >= 1"),
        (lambda: theory.strongly_convex_bound(2, 1, 0.1, 0, 0, 1, 1), "L = 1: must be >= mu"),
        (lambda: theory.strongly_convex_bound(1, 4, 0.5, 0.1, 0.4, 4, 1), "eta = 0.5: must be in"),
        (lambda: theory.strongly_convex_bound(1, 4, 0.1, 1, 0.4, 4, 1), "alpha = 1: must be in"),
        (lambda: theory.strongly_convex_bound(1, 4, 0.1, 0.1, 1.1, 4, 1), "beta = 1.1: must be in"),
        (lambda: theory.easgd_rr_map(0, 0.1, 0.1), "p = 0: must be a whole number >= 1"),
        (lambda: theory.admm_rr_map(3, 0.1, -1), "rho = -1: must be >= 0"),
        (lambda: theory.msgd_opt_delta(-0.1), "eta_h = -0.1: must be >= 0"),
        (lambda: theory.msgd_stationary(0.1, 1, 0.5, -1), "sigma_p2 = -1: must be >= 0"),
        (lambda: theory.easgd_opt_alpha(0.1, -0.9), "beta = -0.9: must be >= 0"),
        (lambda: theory.sgd_mult_rate(0.1, 0, 0.5, 1), "lam = 0: must be > 0"),
        (lambda: theory.sgd_mult_opt(0.5, -1, 1), "om = -1: must be > 0"),
        (lambda: theory.msgd_mult(0.1, 0, 0.5, 0.5, 0), "p = 0: must be >= 1"),
        (lambda: theory.easgd_mult(0.1, 0.1, 0.9, 0.5, 0, 1), "om = 0: must be > 0"),
        (lambda: theory.eamsgd_mult(0.1, 0, 0.1, 0.9, -0.5, 1, 1), "lam = -0.5: must be > 0"),
        (lambda: theory.easgd_mult_best_p(0.5, 0.5, 2.0), r"beta = 2: must be in \(0, 2\)"),
        (lambda: theory.double_well_hessian(1.2), r"rho = 1.2: must be in \[0, 1\]"),
        (lambda: theory.double_well_hessian(0.5, 3), "p = 3: must be even"),
        (lambda: theory.double_well_lambda_min(-0.1), r"rho = -0.1: must be in \[0, 1\]"),
        (lambda: theory.tree_laplacian(2.5), "d = 2.5: must be a whole number >= 1"),  # type: ignore[arg-type]
        (lambda: theory.tree_alpha_max(4, 0), "depth = 0: must be a whole number >= 1"),
        (lambda: theory.two_rate_map("seidel", 0.1, 0.1, 0.4), "scheme = 'seidel': must be one of"),
        (lambda: theory.downpour_rr_eta_max(1.5), "p = 1.5: must be a whole number >= 1"),
        (lambda: theory.downpour_factor(0.1, 0, 4), "tau = 0: must be a whole number >= 1"),
    ],
)
def test_an_argument_without_meaning_is_named_with_its_domain(
    call: Callable[[], Any], said: str
) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        call()


# -- arrays ------------------------------------------------------------------------------------

E = np.array([[0.1], [0.4]])
P = np.array([1.0, 2.0, 5.0])
R = np.array([0.1, 0.2, 0.3])
BROADCAST: list[tuple[str, tuple[Any, ...]]] = [
    ("easgd_roots", (E, 1.0, R, P)),
    ("easgd_center_mean", (3, E, 1.0, R, P, 2.0, 1.0)),
    ("easgd_center_var", (np.array([3, np.inf, 2]), E, 1.0, R, P, 2.0)),
    ("easgd_stable_sync", (E, 2.0, R, P)),
    ("easgd_stationary", (E, 1.0, R, 0.9, 1.0, P)),
    ("easgd_limit_p", (E, 1.0, R, 1.0)),
    ("double_average_var", (E, P, 2.0)),
    ("strongly_convex_bound", (E, 1.0, 0.1, R, 0.4, P + 0 * E, 1.0)),
    ("easgd_rr_alpha_max", (E, P)),
    ("easgd_rr_map", (2, E, R)),
    ("admm_rr_map", (2, E, R)),
    ("msgd_second_moment", (E, R)),
    ("msgd_stationary", (E, 1.0, R, 1.0)),
    ("easgd_opt_alpha", (E, R)),
    ("easgd_second_moment", (E, R, 0.9)),
    ("easgd_as_momentum", (E, 1.0, R, 0.9)),
    ("sgd_mult_rate", (E, R, 1.0, P)),
    ("sgd_mult_opt", (E, R, P)),
    ("msgd_mult", (E, R, 0.5, 0.5, P)),
    ("easgd_mult", (E, R, 0.9, 0.5, 0.5, P)),
    ("eamsgd_mult", (E, R, 0.1, 0.9, 0.5, 0.5, P)),
    ("easgd_mult_best_eta", (E, 1.0, R, P)),
    ("easgd_mult_best_p", (E, 1.0, R)),
    ("double_well_lambda_min", (E + R,)),
    ("double_well_hessian", (E + R,)),
    ("tree_alpha_max", (3, 2, E + R)),
    ("tree_level_map", (3, 2, E, R)),
    ("tree_root_variance", (3, 2, E, 1.0, R, 1.0)),
    ("two_rate_map", ("jacobi", E, R, 0.9)),
    ("easgd_period_map", (E, R, 0.9, P)),
    ("downpour_factor", (E, P, 4)),
]


@pytest.mark.parametrize(("name", "arguments"), BROADCAST, ids=[name for name, _ in BROADCAST])
def test_lists_are_taken_as_arrays(name: str, arguments: tuple[Any, ...]) -> None:
    function = getattr(theory, name)
    lists = [a.tolist() if isinstance(a, np.ndarray) else a for a in arguments]
    found, expected = function(*lists), function(*arguments)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("name", "arguments"), BROADCAST, ids=[name for name, _ in BROADCAST])
def test_arrays_give_what_their_points_give_one_by_one(
    name: str, arguments: tuple[Any, ...]
) -> None:
    function = getattr(theory, name)
    together = function(*arguments)
    spread = [np.broadcast_to(a, (2, 3)) if isinstance(a, np.ndarray) else a for a in arguments]
    for point in np.ndindex(2, 3):
        alone = function(*(a[point] if isinstance(a, np.ndarray) else a for a in spread))
        pairs = (
            zip(together, alone, strict=True) if isinstance(alone, tuple) else [(together, alone)]
        )
        for many, one in pairs:
            lead = np.ndim(many) - np.ndim(one)
            row = tuple(
                k % n for k, n in zip(point[2 - lead :], np.shape(many)[:lead], strict=True)
            )
            assert many[row] == pytest.approx(one, rel=1e-9, abs=1e-12)
