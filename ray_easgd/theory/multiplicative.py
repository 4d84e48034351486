"""Multiplicative noise, the initial phase (thesis 5.2; docs/mathematics.md, 3.5).

Gradient ``xi x`` with ``xi ~ Gamma(shape lam, rate om)``. ``mu = E eta xi = eta lam / om`` and
``s = E (eta xi)^2 = eta^2 lam (lam + 1/p) / om^2`` for the mean over a mini-batch of p. Everywhere
lam > 0, om > 0 and p >= 1; other rates are any real number, and a spectral radius of 1 or more
says that they are not stable.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ray_easgd.theory.arguments import Array, above, at_least, checked, real
from ray_easgd.theory.spectra import lowest, matrix, spectral_radius


def sgd_mult_rate(eta: ArrayLike, lam: ArrayLike, om: ArrayLike, p: ArrayLike) -> Array:
    """``E x'^2 / E x^2 = 1 - 2 mu + s`` of SGD with mini-batches of p.

    Stable for ``0 < eta < 2 om / (lam + 1/p)``. Thesis 5.2; docs/mathematics.md, 3.5.
    """
    noise = _noise(eta, lam, om, p)
    return 1.0 - 2.0 * noise.mu + noise.s


def sgd_mult_opt(lam: ArrayLike, om: ArrayLike, p: ArrayLike) -> tuple[Array, Array]:
    """SGD's best ``(eta, rate) = (om / (lam + 1/p), 1 / (1 + p lam))``.

    The speed-up ``log(1 + p lam) / log(1 + lam)`` is near p while ``p lam << 1``, and logarithmic
    after. Thesis 5.2; docs/mathematics.md, 3.5.
    """
    lam, om, p = above("lam", lam, 0), above("om", om, 0), at_least("p", p, 1)
    return om / (lam + 1.0 / p), 1.0 / (1.0 + p * lam)


def msgd_mult(
    eta: ArrayLike, delta: ArrayLike, lam: ArrayLike, om: ArrayLike, p: ArrayLike
) -> Array:
    """MSGD's map of ``(E v^2, E v x, E x^2)`` with mini-batches of p, shape (..., 3, 3).

    With ``k = 1 - 2 mu + s`` and ``r = mu - s``::

        [[delta^2 k, -2 delta r, s], [delta^2 k, delta (k - r), -r], [delta^2 k, 2 delta k, k]]

    The best (eta, delta) together is delta = 0 at SGD's best eta. Thesis 5.2; docs/mathematics.md,
    3.5.
    """
    _, s, k, r = _noise(eta, lam, om, p)
    d = real("delta", delta)
    return matrix(
        (d**2 * k, -2.0 * d * r, s), (d**2 * k, d * (k - r), -r), (d**2 * k, 2.0 * d * k, k)
    )


def easgd_mult(
    eta: ArrayLike,
    alpha: ArrayLike,
    beta: ArrayLike,
    lam: ArrayLike,
    om: ArrayLike,
    p: ArrayLike,
) -> Array:
    """EASGD's map of ``(E (x^i)^2, E x^i x^j, E x^i c, E c^2)``, i != j, shape (..., 4, 4).

    Each of p workers takes single samples: ``s = eta^2 lam (lam + 1) / om^2``. With
    ``u = 1 - alpha - mu`` and ``k = (1 - alpha)^2 - 2 (1 - alpha) mu + s``::

        [[k, 0, 2 alpha u, alpha^2],
         [0, u^2, 2 alpha u, alpha^2],
         [u beta / p, u beta (p-1) / p, u (1-beta) + alpha beta, alpha (1-beta)],
         [beta^2 / p, beta^2 (p-1) / p, 2 beta (1-beta), (1-beta)^2]]

    With one worker there are no pairs, and their row is 0. Thesis 5.2; docs/mathematics.md, 3.5.
    """
    p, alpha, beta = at_least("p", p, 1), real("alpha", alpha), real("beta", beta)
    mu, s, _, _ = _noise(eta, lam, om, 1.0)
    u, rest = 1.0 - alpha - mu, 1.0 - beta
    k = (1.0 - alpha) ** 2 - 2.0 * (1.0 - alpha) * mu + s
    pairs = np.where(p > 1.0, 1.0, 0.0)
    own, others = 1.0 / p, (p - 1.0) / p
    return matrix(
        (k, 0.0, 2.0 * alpha * u, alpha**2),
        (0.0, pairs * u**2, pairs * 2.0 * alpha * u, pairs * alpha**2),
        (u * beta * own, u * beta * others, u * rest + alpha * beta, alpha * rest),
        (beta**2 * own, beta**2 * others, 2.0 * beta * rest, rest**2),
    )


def eamsgd_mult(
    eta: ArrayLike,
    delta: ArrayLike,
    alpha: ArrayLike,
    beta: ArrayLike,
    lam: ArrayLike,
    om: ArrayLike,
    p: ArrayLike,
) -> Array:
    """EAMSGD's map of nine second moments, shape (..., 9, 9).

    On ``(vv, vx, xx)`` of one worker, ``(vv, vx, xx)`` of two different ones, ``(vc, xc, cc)``. A
    step is ``v' = delta (1 - a) v - a x``, ``x' = x + v' - alpha (x - c)`` and
    ``c' = (1 - beta) c + (beta / p) sum_i x^i``, each worker drawing its own ``a = eta xi``.

    The rows, with ``m = 1 - mu``, ``u = 1 - alpha - mu``, ``b = beta / p``, ``o = beta - b``,
    ``n = 1 - beta`` and the means ``k = E (1-a)^2``, ``r = E a (1-a)``, ``f = E (1-a)(1-alpha-a)``,
    ``w = E (1-alpha-a)^2``, ``z = E a (1-alpha-a)``, are the products of those lines.

    docs/mathematics.md, 3.5. With one worker the rows of two are 0.
    """
    p, d = at_least("p", p, 1), real("delta", delta)
    alpha, beta = real("alpha", alpha), real("beta", beta)
    mu, s, k, r = _noise(eta, lam, om, 1.0)
    g, m, u, n = 1.0 - alpha, 1.0 - mu, 1.0 - alpha - mu, 1.0 - beta
    f, w, z = g * m - r, g**2 - 2.0 * g * mu + s, g * mu - s
    b, o, dm, two = beta / p, beta * (p - 1.0) / p, d * m, np.where(p > 1.0, 1.0, 0.0)
    a_dm, au, aa = alpha * dm, alpha * u, alpha**2
    return matrix(
        (d**2 * k, -2.0 * d * r, s, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (d**2 * k, d * (f - r), -z, 0.0, 0.0, 0.0, a_dm, -alpha * mu, 0.0),
        (d**2 * k, 2.0 * d * f, w, 0.0, 0.0, 0.0, 2.0 * a_dm, 2.0 * au, aa),
        (0.0, 0.0, 0.0, two * dm**2, -two * 2.0 * dm * mu, two * mu**2, 0.0, 0.0, 0.0),
        (
            0.0,
            0.0,
            0.0,
            *(two * e for e in (dm**2, dm * (u - mu), -mu * u, a_dm, -alpha * mu)),
            0.0,
        ),
        (0.0, 0.0, 0.0, *(two * e for e in (dm**2, 2.0 * dm * u, u**2, 2.0 * a_dm, 2.0 * au, aa))),
        (0.0, b * dm, -b * mu, 0.0, o * dm, -o * mu, n * dm, -n * mu, 0.0),
        (0.0, b * dm, b * u, 0.0, o * dm, o * u, n * dm, n * u + beta * alpha, n * alpha),
        (0.0, 0.0, beta * b, 0.0, 0.0, beta * o, 0.0, 2.0 * beta * n, n**2),
    )


def easgd_mult_best_eta(
    lam: ArrayLike, om: ArrayLike, beta: ArrayLike, p: ArrayLike
) -> tuple[Array, Array]:
    """The best ``(eta, rate)`` of EASGD with ``alpha = beta / p``; numerical, to about 1e-9 of eta.

    docs/mathematics.md, 3.5. 0 < beta < 2: beyond it no eta is stable.
    """
    lam, om, p = above("lam", lam, 0), above("om", om, 0), at_least("p", p, 1)
    beta = _rate_of_center(beta)
    _, _, _, high = np.broadcast_arrays(p, beta, lam, 2.0 * om / lam)

    def radius(eta: Array) -> Array:
        return spectral_radius(easgd_mult(eta, beta / p, beta, lam, om, p))

    return lowest(radius, np.zeros_like(high), high)


def easgd_mult_best_p(lam: ArrayLike, om: ArrayLike, beta: ArrayLike) -> tuple[Array, Array]:
    """The best ``(p, rate)`` of EASGD with ``alpha = beta / p``, each p at its best eta.

    As p grows alpha falls, the workers decouple, and two rates are left: theirs, ``1 / (1 + lam)``,
    and that of the center behind them, ``(1 - beta)^2``. Where theirs is the larger it is
    approached from below, and the best number of workers is finite. Else the center's is, from
    above: the answer is ``(infinity, (1 - beta)^2)``. Numerical: p is doubled while the rate falls,
    and the whole numbers around its turn are searched.

    Thesis 5.2; docs/mathematics.md, 3.5, which has beta = .9 and so only the first case.
    0 < beta < 2.
    """
    lam, om = above("lam", lam, 0), above("om", om, 0)
    search = np.vectorize(_best_p, otypes=[np.float64, np.float64])
    p, rate = search(lam, om, _rate_of_center(beta))
    return p[()], rate[()]


def easgd_mult_limit(lam: ArrayLike) -> tuple[Array, Array]:
    """The floor ``(mu, rate)`` of EASGD as p grows with ``beta`` free of ``alpha``.

    ``min over mu of (1 - mu)^2 + alpha mu`` with
    ``alpha = ((2 - mu) - sqrt((2 - mu)^2 - 4 mu^2 / lam)) / 2`` and ``beta = 2 - mu - alpha``; at
    lam = 1/2 it is 22/49 at mu = 3/7. Mini-batch SGD has no such floor.

    docs/mathematics.md, 3.5 (derived there; not in the thesis).
    """
    lam = above("lam", lam, 0)
    high = 2.0 / (1.0 + 2.0 / np.sqrt(lam))  # beyond it the root is complex

    def rate(mu: Array) -> Array:
        root = np.sqrt(np.maximum((2.0 - mu) ** 2 - 4.0 * mu**2 / lam, 0.0))
        return (1.0 - mu) ** 2 + ((2.0 - mu) - root) / 2.0 * mu

    return lowest(rate, np.zeros_like(high), high)


class _Noise(NamedTuple):
    """``mu = E a``, ``s = E a^2``, ``k = E (1 - a)^2``, ``r = E a (1 - a)`` of ``a = eta xi``."""

    mu: Array
    s: Array
    k: Array
    r: Array


def _noise(eta: ArrayLike, lam: ArrayLike, om: ArrayLike, p: ArrayLike) -> _Noise:
    eta, lam = real("eta", eta), above("lam", lam, 0)
    om, p = above("om", om, 0), at_least("p", p, 1)
    mu, s = eta * lam / om, (eta / om) ** 2 * lam * (lam + 1.0 / p)
    return _Noise(mu, s, 1.0 - 2.0 * mu + s, mu - s)


def _rate_of_center(beta: ArrayLike) -> Array:
    array = np.asarray(beta, dtype=np.float64)
    return checked("beta", array, (array > 0.0) & (array < 2.0), "in (0, 2)")


def _best_p(lam: float, om: float, beta: float) -> tuple[float, float]:
    def rate(p: ArrayLike) -> Array:
        return easgd_mult_best_eta(lam, om, beta, p)[1]

    if (1.0 - beta) ** 2 >= 1.0 / (1.0 + lam):
        return np.inf, (1.0 - beta) ** 2
    p, here, doubled = 1, rate(1), rate(2)
    while doubled < here:
        p, here, doubled = 2 * p, doubled, rate(4 * p)
    low, high = max(1, p // 2), 2 * p
    while high - low > 16:
        tried = np.linspace(low, high, 9).astype(np.int64)
        at = int(rate(tried).argmin())
        low, high = tried[max(at - 1, 0)], tried[min(at + 1, 8)]
    workers = np.arange(low, high + 1)
    rates = rate(workers)
    return float(workers[rates.argmin()]), float(rates.min())
