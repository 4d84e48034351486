"""On a quadratic every method is a matrix, and the thesis has written it down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ray_easgd.algorithms import METHODS, Algorithm
from ray_easgd.algorithms.diloco import OuterExchange
from ray_easgd.algorithms.two_rate import Scheme, in_scheme
from tests import linear_maps as maps
from tests.differentiate import Cycle, Parity, admm_rates
from tests.linear_maps import Array, mean_system, spectral_radius

P, TAU = 3, 4
EH, Q = 0.1, 0.9
A, B, DELTA = 0.2, 0.15, 0.6
SCHEMES: tuple[Scheme, ...] = (
    "jacobi",
    "gauss_seidel_center_first",
    "gauss_seidel_worker_first",
    "full_gauss_seidel",
)


def two_rate(scheme: Scheme, center_rate: float = B) -> Algorithm:
    return in_scheme(METHODS["two_rate"], scheme).having(center_rate=center_rate)


EASGD_IN_TURN = replace(METHODS["easgd"], rounds="in_turn", order="at_snapshot")
EAMSGD_SYNC = replace(METHODS["eamsgd"], rounds="together", order="at_snapshot")
DOWNPOUR_SYNC = replace(METHODS["downpour"], exchange=OuterExchange(), rounds="together")
DOWNPOUR_IN_TURN = replace(METHODS["downpour"], rounds="in_turn")


def downpour_with_mean(t: int) -> Array:
    return maps.downpour_round(P, Q, [1.0 / (P * t + k + 1) for k in range(P)])


# The state is seen just after an exchange. Taken at_snapshot, x has not moved yet: with the center
# as the exchange found it (c_found) that is the state before it; with the new center (c), where x
# moves by that, it is the state between the two updates.
SEQUENTIAL = [
    Parity(method="sgd", about="q", state="x c", matrix=maps.sgd(Q), workers=1, rank=1),
    Parity(method="sgd", about="q^tau", state="x", matrix=maps.sgd(Q**TAU)[:1, :1], workers=1,
           period=TAU),
    Parity(method="asgd", about="z", state="x c z", matrix=lambda t: maps.sgd(Q, 1.0 / (t + 1)),
           workers=1, rank=2),
    Parity(method="mvasgd", about="z", state="x c z", matrix=maps.sgd(Q, 0.3), workers=1, rank=2,
           average_rate=0.3),
    Parity(method="msgd", about="drift", state="v x", matrix=maps.msgd(EH, DELTA), workers=1,
           momentum=DELTA),
]  # fmt: skip
ELASTIC = [
    Parity(method="easgd_sync", about="Jacobi", matrix=maps.jacobi(P, Q, A, A), alpha=A),
    Parity(method="easgd_sync", about="Jacobi, period", alpha=A, period=TAU,
           matrix=maps.over_period(maps.jacobi(P, Q, A, A), Q, TAU)),
    Parity(method="easgd_sync", about="between steps", state="x c", alpha=A, order="between_steps",
           matrix=maps.after_exchange(maps.moved_point(P, Q, A, A), Q)),
    Parity(method="easgd", about="one worker", matrix=maps.pair(EH, A), alpha=A, workers=1,
           order="at_snapshot"),
    Parity(method="easgd", about="in turn", matrix=maps.round_robin(P, EH, A), alpha=A,
           algorithm=EASGD_IN_TURN),
    Parity(method="easgd", about="equal paces", matrix=maps.round_robin(P, EH, A), alpha=A,
           order="at_snapshot"),
    Parity(method="easgd", about="equal paces, period", alpha=A, order="at_snapshot", period=TAU,
           matrix=maps.over_period(maps.round_robin(P, EH, A), Q, TAU)),
    Parity(method="easgd", about="equal paces, between steps", state="x c", alpha=A, period=TAU,
           matrix=maps.moved_point_round(P, Q**TAU, A)),
    Parity(method="eamsgd", about="together", state="v x c_found", alpha=A, momentum=DELTA,
           matrix=maps.eamsgd(P, EH, DELTA, A), algorithm=EAMSGD_SYNC),
    Parity(method="eamsgd", about="together, period", state="v x c_found", alpha=A, period=TAU,
           matrix=np.linalg.matrix_power(maps.nesterov(P, EH, DELTA), TAU - 1)
           @ maps.eamsgd(P, EH, DELTA, A), algorithm=EAMSGD_SYNC, momentum=DELTA),
    Parity(method="eamsgd", about="equal paces", state="v x c_found", alpha=A, momentum=DELTA,
           matrix=maps.eamsgd_round(P, EH, DELTA, A), order="at_snapshot"),
]  # fmt: skip
TWO_RATES = [
    Parity(method="gauss_seidel", about="center first", matrix=maps.center_first(P, Q, A, A),
           alpha=A),
    Parity(method="gauss_seidel", about="worker first", matrix=maps.worker_first(P, Q, A, A),
           alpha=A, state="x c"),
    Parity(method="gauss_seidel", about="center first, period", alpha=A, period=TAU,
           matrix=maps.over_period(maps.center_first(P, Q, A, A), Q, TAU)),
    Parity(method="two_rate", about="Jacobi", matrix=maps.jacobi(P, Q, A, B), alpha=A,
           algorithm=two_rate("jacobi")),
    Parity(method="two_rate", about="center first", matrix=maps.center_first(P, Q, A, B), alpha=A,
           algorithm=two_rate("gauss_seidel_center_first")),
    Parity(method="two_rate", about="worker first", matrix=maps.worker_first(P, Q, A, B), alpha=A,
           algorithm=two_rate("gauss_seidel_worker_first"), state="x c"),
    Parity(method="two_rate", about="full", alpha=A, algorithm=two_rate("full_gauss_seidel"),
           matrix=maps.after_exchange(maps.full_gauss_seidel(P, Q, A, B), Q), state="x c"),
    Parity(method="two_rate", about="full, period", alpha=A, period=TAU, state="x c",
           matrix=maps.after_exchange(maps.full_gauss_seidel(P, Q**TAU, A, B), Q**TAU),
           algorithm=two_rate("full_gauss_seidel")),
]  # fmt: skip
OVERWRITING = [
    Parity(method="downpour", about="together", state="c", period=TAU, algorithm=DOWNPOUR_SYNC,
           matrix=maps.downpour_factor(P, Q, TAU)),
    Parity(method="downpour", about="in turn", state="x", algorithm=DOWNPOUR_IN_TURN,
           matrix=maps.delay_line(P, EH)),
    Parity(method="downpour", about="equal paces", state="x", matrix=maps.delay_line(P, EH)),
    Parity(method="downpour", about="equal paces, period", state="x", period=TAU,
           matrix=maps.delay_line(P, 1.0 - Q**TAU)),
    Parity(method="adownpour", about="z", state="x z", matrix=downpour_with_mean),
    Parity(method="mvadownpour", about="z", state="x z", average_rate=0.3,
           matrix=maps.downpour_round(P, Q, [0.3] * P)),
    Parity(method="mdownpour", about="look-ahead", state="outer_v c", workers=1, momentum=DELTA,
           matrix=maps.look_ahead(EH, DELTA)),
    Parity(method="mdownpour", about="equal paces", state="outer_v x", momentum=DELTA,
           matrix=maps.mdownpour_round(P, EH, DELTA)),
    Parity(method="local_sgd", about="q^tau", state="c", period=TAU, matrix=maps.local_sgd(Q, TAU)),
    Parity(method="diloco", about="outer step", state="outer_v c", period=TAU, momentum=DELTA,
           matrix=maps.outer(Q, TAU, 0.7, DELTA)),
    Parity(method="diloco_async", about="one worker", state="outer_v c", period=TAU, workers=1,
           matrix=maps.outer(Q, TAU, 0.7, DELTA), momentum=DELTA),
    Parity(method="diloco_async", about="equal paces", state="outer_v x", period=TAU,
           matrix=maps.delayed_outer(P, Q, TAU, 0.7, DELTA), momentum=DELTA),
]  # fmt: skip


def admm(p: int, *, eta_h: float = 0.12, eta_rho: float = 0.09) -> Parity:
    """After a round c is the mean of all x - m, so that 2p of the 2p + 1 rows are free."""
    matrix = maps.admm_round(p, eta_h, eta_rho)
    rates = admm_rates(eta_h, eta_rho)
    return Parity(method="admm", about=f"F^p .. F^1, p={p}", state="m x c", matrix=matrix,
                  workers=p, rank=2 * p, latency_s=0.1, **rates)  # fmt: skip


ADMM = [
    *(admm(p) for p in (2, 3, 8)),
    Parity(method="admm_async", about="equal paces", state="m x k", also_varied="slots",
           matrix=maps.admm_async_round(P, 0.12, 0.09), rank=3 * P - 1, **admm_rates(0.12, 0.09)),
]  # fmt: skip
PARITIES = SEQUENTIAL + ELASTIC + TWO_RATES + OVERWRITING + ADMM


def test_every_method_has_a_parity() -> None:
    assert {parity.method for parity in PARITIES} == METHODS.keys()


RUNS = [pytest.param(p, id=str(p)) for p in PARITIES]


@pytest.mark.parametrize("cycle", [1, 2])
@pytest.mark.parametrize("parity", RUNS)
def test_a_method_makes_the_map_that_is_written_of_it(parity: Parity, cycle: int) -> None:
    measured, reachable = parity.measured(cycle)
    expected = parity.expected(cycle) @ reachable
    assert np.abs(measured - expected).max() < 1e-10
    assert spectral_radius(measured) == pytest.approx(spectral_radius(expected), abs=1e-6)


# -- the numbers that were published ----------------------------------------------------------


def easgd(p: int, eh: float, alpha: float, period: int = 1) -> Array:
    return Cycle(method="easgd_sync", workers=p, eh=eh, alpha=alpha, period=period).map


def test_the_roots_of_synchronous_easgd_are_those_of_lemma_7_1() -> None:
    """And 1 - alpha - eta h, p - 1 times: the differences between workers."""
    roots = np.sort(np.linalg.eigvals(easgd(4, 0.5, 0.2)).real)
    assert roots == pytest.approx([-0.1531128874, 0.3, 0.3, 0.3, 0.6531128874], abs=1e-9)


@pytest.mark.parametrize(("p", "radius"), [(3, 0.999269748), (8, 0.999115698)])
def test_round_robin_easgd_is_stable(p: int, radius: float) -> None:
    run = Cycle(method="easgd", algorithm=EASGD_IN_TURN, workers=p, eh=0.001, alpha=0.0025)
    assert spectral_radius(run.map) == pytest.approx(radius, abs=1e-9)


@pytest.mark.parametrize(("p", "radius"), [(2, 0.999001872), (3, 1.000973885), (8, 1.002257866)])
def test_round_robin_admm_is_unstable_from_three_workers_on(p: int, radius: float) -> None:
    measured = admm(p, eta_h=0.001, eta_rho=0.0025).map
    assert spectral_radius(measured) == pytest.approx(radius, abs=1e-9)
    if p == 3:
        root = max(np.linalg.eigvals(measured), key=lambda z: (abs(z), z.imag))
        assert root == pytest.approx(0.999473 + 0.054792j, abs=1e-6)


@pytest.mark.parametrize(
    ("period", "radius"), [(1, 0.9604), (4, 0.8524), (16, 0.5462), (64, 0.1606)]
)
def test_easgd_stays_stable_at_long_periods(period: int, radius: float) -> None:
    measured = easgd(4, 0.05, 0.225, period)
    assert spectral_radius(measured) == pytest.approx(radius, abs=5e-5)


@pytest.mark.parametrize(
    ("eh", "period", "factor"),
    [(0.01, 1, 0.96), (0.01, 4, 0.842), (0.01, 16, 0.406), (0.01, 64, -0.898), (0.05, 16, -1.239)],
)
def test_downpour_diverges_at_long_periods(eh: float, period: int, factor: float) -> None:
    run = Cycle(
        method="downpour", algorithm=DOWNPOUR_SYNC, workers=4, eh=eh, period=period, state="c"
    )
    assert run.map.item() == pytest.approx(factor, abs=5e-4)


@pytest.mark.parametrize(("p", "limit"), [(2, 1.0), (3, 0.618034), (4, 0.445042), (8, 0.209057)])
def test_round_robin_downpour_is_stable_up_to_its_limit(p: int, limit: float) -> None:
    """2 sin(pi / (2 (2 p - 1)))."""
    for factor, side in ((0.98, -1.0), (1.02, 1.0)):
        run = Cycle(method="downpour", workers=p, eh=factor * limit, state="x")
        assert side * (spectral_radius(run.map) - 1.0) > 1e-3


@pytest.mark.parametrize(
    ("eh", "delta", "radius"),
    [
        (0.01, 0.84, 0.911),
        (0.1, 0.60, 0.724),
        (0.5, 0.43, 0.388),
        (0.01, 0.99, 0.9891),
        (0.1, 0.99, 0.9345),
        (0.5, 0.99, 0.6415),
    ],
)
def test_the_mean_system_of_eamsgd_is_the_one_of_thesis_5_1(
    eh: float, delta: float, radius: float
) -> None:
    run = Cycle(
        method="eamsgd",
        algorithm=EAMSGD_SYNC,
        workers=4,
        eh=eh,
        alpha=0.225,
        momentum=delta,
        state="v x c_found",
    )
    measured = mean_system(run.map, 4)
    assert np.abs(measured - maps.eamsgd_mean(eh, delta, 0.225, 0.9)).max() < 1e-10
    assert spectral_radius(measured) == pytest.approx(radius, abs=1e-3)


@pytest.mark.parametrize("a", [0.05, 0.3])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_mean_system_of_a_scheme_has_its_trace_and_determinant(
    scheme: Scheme, a: float
) -> None:
    run = Cycle(
        method="two_rate",
        algorithm=two_rate(scheme, 0.1),
        workers=4,
        eh=0.3,
        alpha=a,
        state="x c_found" if scheme in ("jacobi", "gauss_seidel_center_first") else "x c",
    )
    mean = mean_system(run.map, 4)
    expected = maps.trace_and_determinant(scheme, 0.7, a, 0.4)
    assert (np.trace(mean), np.linalg.det(mean)) == pytest.approx(expected, abs=1e-10)


def test_full_gauss_seidel_at_rate_one_is_downpour() -> None:
    """Eigenvalues 0 and 1 - p eta h."""
    full = two_rate("full_gauss_seidel", 1.0)
    run = Cycle(
        method="two_rate", algorithm=full, workers=4, eh=0.1, alpha=1.0, state="x c", rank=1
    )
    assert spectral_radius(run.map) == pytest.approx(0.6, abs=1e-10)


def test_a_moved_point_gives_the_mean_system_of_mathematics_2_12() -> None:
    run = Cycle(method="easgd_sync", workers=4, alpha=0.15, order="between_steps", state="x c")
    expected = maps.after_exchange(maps.moved_point_mean(0.9, 0.15, 0.6), 0.9)
    assert mean_system(run.map, 4) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("eh", "alpha", "radius"), [(0.1, -0.4, 0.7), (0.1, 0.0, 0.9), (0.5, -0.058359, 0.3292)]
)
def test_the_best_rate_of_one_worker_is_negative(eh: float, alpha: float, radius: float) -> None:
    """alpha* = -(sqrt beta - sqrt eta h)^2 at beta = 0.9: a double eigenvalue 1 - sqrt(beta eta
    h)."""
    algorithm = two_rate("jacobi", 0.9)
    run = Cycle(method="two_rate", algorithm=algorithm, workers=1, eh=eh, alpha=alpha)
    assert spectral_radius(run.map) == pytest.approx(radius, abs=1e-3)


def test_the_active_pair_gives_the_moments_of_random_order() -> None:
    """mathematics.md, 2.2: four workers, one drawn uniformly an event, eta = 0.1, alpha = 0.225."""
    pair = Cycle(method="easgd", workers=1, alpha=0.225, order="at_snapshot").map
    operator, noise = np.zeros((25, 25)), np.zeros(25)
    for i in range(4):
        turn = np.eye(5)
        turn[np.ix_([i, 4], [i, 4])] = pair
        operator += np.kron(turn, turn) / 4
        noise[6 * i] = 0.1**2 / 4
    moments = np.linalg.solve(np.eye(25) - operator, noise).reshape(5, 5)
    assert (moments[4, 4], moments[0, 0]) == pytest.approx((0.010725, 0.024256), abs=1e-6)
