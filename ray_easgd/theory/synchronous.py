"""Synchronous EASGD (thesis chapter 3; docs/mathematics.md, 3.1): moments, stability, averages.

On ``F(x) = h x^2 / 2`` with gradient ``h x - xi`` and ``Var xi = sigma2`` for one worker. Symbols:
``y`` the mean of the workers, ``c`` the center, ``e = eta h``, ``beta = p alpha`` where only
``alpha`` is given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ray_easgd.theory.arguments import Array, Flags, above, at_least, between, checked, real
from ray_easgd.theory.spectra import matrix


def easgd_roots(
    eta: ArrayLike, h: ArrayLike, alpha: ArrayLike, p: ArrayLike
) -> tuple[Array, Array]:
    """Eigenvalues ``(gamma, phi)``, gamma >= phi, of the mean system ``(y, c)``.

    ``gamma, phi = 1 - (s -+ sqrt(s^2 - 4 k)) / 2`` with ``s = e + (p + 1) alpha`` and
    ``k = e p alpha``. They are real for every rate, as
    ``s^2 - 4 k = (e - (p - 1) alpha)^2 + 4 p alpha^2``.

    Paper, lemma 7.1; docs/mathematics.md, 3.1. Any eta and alpha; h > 0, p >= 1.
    """
    e, alpha, p = _eta_h(eta, h), real("alpha", alpha), at_least("p", p, 1)
    s = e + (p + 1.0) * alpha
    root = np.hypot(e - (p - 1.0) * alpha, 2.0 * np.sqrt(p) * alpha)
    return 1.0 - (s - root) / 2.0, 1.0 - (s + root) / 2.0


def easgd_center_mean(
    t: ArrayLike,
    eta: ArrayLike,
    h: ArrayLike,
    alpha: ArrayLike,
    p: ArrayLike,
    x0: ArrayLike = 1.0,
    center0: ArrayLike = 1.0,
) -> Array:
    """``E c_t`` after ``t`` rounds, the workers having started at ``x0`` (their mean).

    ``E c_t = gamma^t c_0 + alpha u_0 (gamma^t - phi^t) / (gamma - phi)`` with
    ``u_0 = sum_i (x^i_0 - alpha c_0 / (1 - p alpha - phi))``. By the characteristic equation
    ``alpha u_0 = beta y_0 + (1 - beta - gamma) c_0``, which is what is computed: it has no pole.

    Paper, lemma 7.1; docs/mathematics.md, 3.1. t >= 0; infinity gives the limit, infinite where the
    mean system is not stable. h > 0, p >= 1.
    """
    t, x0, center0 = at_least("t", t, 0), real("x0", x0), real("center0", center0)
    gamma, phi = easgd_roots(eta, h, alpha, p)
    beta = np.multiply(p, alpha)
    with np.errstate(over="ignore", invalid="ignore"):
        response = _quotient(gamma, phi, t)
        mean = gamma**t * center0 + response * (beta * x0 + (1.0 - beta - gamma) * center0)
    return _nan_to_infinity(np.where(np.isinf(t) & np.isinf(mean), np.inf, mean))


def easgd_center_var(
    t: ArrayLike,
    eta: ArrayLike,
    h: ArrayLike,
    alpha: ArrayLike,
    p: ArrayLike,
    sigma2: ArrayLike = 1.0,
) -> Array:
    """``Var c_t`` after ``t`` rounds from a start without variance.

    ``p^2 alpha^2 eta^2 / (gamma - phi)^2 [G(gamma^2) + G(phi^2) - 2 G(gamma phi)] sigma2 / p``
    with ``G(r) = r + .. + r^(t-1) = (r - r^t) / (1 - r)``.

    Paper, lemma 7.1; docs/mathematics.md, 3.1. t >= 0; infinity gives the stationary variance,
    which is infinite where the mean system is not stable. h > 0, p >= 1, sigma2 >= 0.
    """
    t, sigma2, p = at_least("t", t, 0), at_least("sigma2", sigma2, 0), at_least("p", p, 1)
    gamma, phi = easgd_roots(eta, h, alpha, p)
    beta, eta = np.multiply(p, alpha), np.asarray(eta, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        sums = _geometric(gamma**2, t) + _geometric(phi**2, t) - 2.0 * _geometric(gamma * phi, t)
        var = (beta * eta / (gamma - phi)) ** 2 * sums * sigma2 / p
    still = (beta * eta * sigma2 == 0.0) | (t <= 1.0)
    return _nan_to_infinity(np.where(still, 0.0, var))


def easgd_stable_sync(eta: ArrayLike, h: ArrayLike, beta: ArrayLike, p: ArrayLike) -> Flags:
    """Whether ``-1 < phi < gamma < 1``, with ``alpha = beta / p``.

    ``eta > 0``, ``beta > 0``, ``(2 - e)(2 - beta) > 2 beta / p`` and
    ``(2 - e) + (2 - beta) > beta / p``.

    Paper, section 3 and lemma 7.1; docs/mathematics.md, 3.1. In several dimensions the same with h
    the largest curvature. Any eta and beta; h > 0, p >= 1.
    """
    e, beta, p = _eta_h(eta, h), real("beta", beta), at_least("p", p, 1)
    product = (2.0 - e) * (2.0 - beta) > 2.0 * beta / p
    total = (2.0 - e) + (2.0 - beta) > beta / p
    stable: Flags = (e > 0.0) & (beta > 0.0) & product & total
    return stable


def easgd_stationary(
    eta: ArrayLike,
    h: ArrayLike,
    alpha: ArrayLike,
    beta: ArrayLike,
    sigma2: ArrayLike,
    p: ArrayLike,
) -> tuple[Array, Array, Array, Array]:
    """Stationary ``(E y^2, E y c, E c^2, E (x^i)^2)`` for any rates ``alpha`` and ``beta``.

    With ``s = eta^2 sigma2 / p`` and
    ``Den = e (e + beta - e beta + alpha) ((2 - e)(2 - beta) - 2 alpha)``:

    - ``E c^2 = s beta (2 - alpha - beta - e + beta e) / Den``
    - ``E y c = s beta (2 - alpha - beta - 2 e + beta e) / Den``
    - ``E y^2 = s (2 e + 2 beta - 3 beta e - beta^2 + beta^2 e - alpha beta) / Den``
    - ``E (x^i)^2 = E y^2 + (1 - 1/p) eta^2 sigma2 / (1 - (1 - alpha - e)^2)``

    Thesis chapter 5; docs/mathematics.md, 3.1. Infinite where the mean system is not stable; the
    last also where differences between workers, of eigenvalue ``1 - alpha - e``, are not.
    h > 0, sigma2 >= 0, p >= 1.
    """
    e, sigma2, p = _eta_h(eta, h), at_least("sigma2", sigma2, 0), at_least("p", p, 1)
    alpha, beta = real("alpha", alpha), real("beta", beta)
    noise = np.asarray(eta, dtype=np.float64) ** 2 * sigma2
    stable = easgd_stable_mean(e, alpha, beta)
    with np.errstate(divide="ignore", invalid="ignore"):
        slow, fast = e + beta - e * beta + alpha, (2.0 - e) * (2.0 - beta) - 2.0 * alpha
        scale = noise / p / (e * slow * fast)
        cc = scale * beta * (2.0 - alpha - beta - e + beta * e)
        yc = scale * beta * (2.0 - alpha - beta - 2.0 * e + beta * e)
        yy = scale * (2.0 * e + 2.0 * beta - 3.0 * beta * e - beta**2 * (1.0 - e) - alpha * beta)
        apart = np.where(p > 1.0, 1.0 - (1.0 - alpha - e) ** 2, 1.0)
        xx = yy + (1.0 - 1.0 / p) * noise / apart
    return (
        _where_stable(stable, yy),
        _where_stable(stable, yc),
        _where_stable(stable, cc),
        _where_stable(stable & (apart > 0.0), xx),
    )


def easgd_stable_mean(eta_h: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> Flags:
    """Whether the mean system is stable, for any rates ``alpha`` and ``beta``.

    ``e beta > 0``, ``2 alpha < (2 - e)(2 - beta)`` and ``alpha > -(e + beta - e beta)``: the three
    conditions ``1 - T + D > 0``, ``1 + T + D > 0`` and ``D < 1`` of its trace and determinant.

    docs/mathematics.md, 3.1. It says nothing of differences between workers.
    """
    e, alpha, beta = real("eta_h", eta_h), real("alpha", alpha), real("beta", beta)
    stable: Flags = (
        (e * beta > 0.0)
        & (2.0 * alpha < (2.0 - e) * (2.0 - beta))
        & (alpha > -(e + beta - e * beta))
    )
    return stable


def easgd_limit_p(eta: ArrayLike, h: ArrayLike, beta: ArrayLike, sigma2: ArrayLike) -> Array:
    """``lim_p lim_t p E c_t^2``: the stationary error of the center times p, for many workers.

    ``beta e / ((2 - beta)(2 - e)) (2 - beta - e + beta e) / (beta + e - beta e) sigma2 / h^2``.

    Paper, corollary 7.1; docs/mathematics.md, 3.1. Infinite outside ``0 < e < 2``,
    ``0 < beta < 2``. h > 0, sigma2 >= 0.
    """
    e, beta, sigma2 = _eta_h(eta, h), real("beta", beta), at_least("sigma2", sigma2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = beta * e / ((2.0 - beta) * (2.0 - e))
        second = (2.0 - beta - e + beta * e) / (beta + e - beta * e)
        limit = first * second * sigma2 / np.square(h)
    return _where_stable((e > 0.0) & (e < 2.0) & (beta > 0.0) & (beta < 2.0), limit)


def double_average_var(sigma2: ArrayLike, p: ArrayLike, h: ArrayLike) -> Array:
    """``lim_t t Var z_t = sigma2 / (p h^2)`` for the mean ``z_t`` of the centers so far.

    It is optimal (the Fisher bound), and free of eta, beta and rho wherever the mean system is
    stable.

    Paper, lemma 7.2; docs/mathematics.md, 3.1. sigma2 >= 0, p >= 1, h > 0.
    """
    sigma2, p, h = at_least("sigma2", sigma2, 0), at_least("p", p, 1), above("h", h, 0)
    return sigma2 / (p * h**2)


def strongly_convex_bound(
    mu: ArrayLike,
    L: ArrayLike,
    eta: ArrayLike,
    alpha: ArrayLike,
    beta: ArrayLike,
    p: ArrayLike,
    sigma2: ArrayLike,
) -> tuple[Array, Array]:
    """Matrix ``(..., 3, 3)`` and vector ``(..., 3)`` that bound a step where F is strongly convex.

    ``a = E |y - x*|^2``, ``b = mean_i E |x^i - x*|^2``, ``c = E |center - x*|^2`` obey
    ``(a, b, c)' <= M (a, b, c) + r``, with ``g1 = 2 eta mu L / (mu + L)`` and
    ``g2 = 2 eta L (1 - 2 sqrt(mu L) / (mu + L))``::

        M = [[1 - g1 - g2 - alpha, g2, alpha], [0, 1 - g1 - alpha, alpha], [beta, 0, 1 - beta]]
        r = (eta^2 sigma2 / p, eta^2 sigma2, 0)

    Paper, theorem 7.1; docs/mathematics.md, 3.1. Outside its premises the theorem says nothing:
    0 < mu <= L, 0 <= alpha < 1, 0 <= beta <= 1, 0 <= eta <= 2 (1 - alpha) / (mu + L); p >= 1,
    sigma2 >= 0. ``sigma2`` is ``E |xi|^2``, over all dimensions.
    """
    mu, beta, p = above("mu", mu, 0), between("beta", beta, 0, 1), at_least("p", p, 1)
    L, alpha, eta = real("L", L), real("alpha", alpha), real("eta", eta)
    checked("L", L, mu <= L, ">= mu")
    checked("alpha", alpha, (alpha >= 0.0) & (alpha < 1.0), "in [0, 1)")
    most = 2.0 * (1.0 - alpha) / (mu + L)
    checked("eta", eta, (eta >= 0.0) & (eta <= most), "in [0, 2 (1 - alpha) / (mu + L)]")
    noise = eta**2 * at_least("sigma2", sigma2, 0)
    g1 = 2.0 * eta * mu * L / (mu + L)
    g2 = 2.0 * eta * L * (1.0 - 2.0 * np.sqrt(mu * L) / (mu + L))
    bound = matrix(
        (1.0 - g1 - g2 - alpha, g2, alpha), (0.0, 1.0 - g1 - alpha, alpha), (beta, 0.0, 1.0 - beta)
    )
    return bound, matrix((noise / p, noise, 0.0))[..., 0, :]


def _eta_h(eta: ArrayLike, h: ArrayLike) -> Array:
    return real("eta", eta) * above("h", h, 0)


def _quotient(gamma: Array, phi: Array, t: Array) -> Array:
    """``(gamma^t - phi^t) / (gamma - phi)``, which is ``t gamma^(t-1)`` where they are equal."""
    equal = gamma == phi
    gap = np.where(equal, 1.0, gamma - phi)
    quotient: Array = np.where(
        equal, t * gamma ** np.maximum(t - 1.0, 0.0), (gamma**t - phi**t) / gap
    )
    return quotient


def _geometric(r: Array, t: Array) -> Array:
    """``r + r^2 + .. + r^(t-1)``."""
    one = r == 1.0
    sums: Array = np.where(one, t - 1.0, (r - r**t) / np.where(one, 1.0, 1.0 - r))
    return sums


def _nan_to_infinity(value: Array) -> Array:
    """What left the range of floats in both directions at once."""
    finite: Array = np.where(np.isnan(value), np.inf, value)[()]
    return finite


def _where_stable(stable: Flags, moment: Array) -> Array:
    finite: Array = np.where(stable, moment, np.inf)[()]
    return finite
