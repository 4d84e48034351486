"""Additive noise, the asymptotic phase (thesis 5.1; docs/mathematics.md, 3.4).

``F = h x^2 / 2`` with gradient ``h x - xi``; ``e = eta h`` and ``dh = delta (1 - e)``. ``sigma_p2``
is the variance of the mean of p workers' noise, ``sigma2 / p``.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from ray_easgd.theory.arguments import Array, above, at_least, real
from ray_easgd.theory.spectra import matrix


def sgd_stationary(eta: ArrayLike, h: ArrayLike, sigma_p2: ArrayLike) -> Array:
    """Mini-batch SGD's ``E x^2 = eta sigma_p2 / (h (2 - e))``.

    Thesis 5.1; docs/mathematics.md, 3.4. Infinite outside ``0 < e < 2``. h > 0, sigma_p2 >= 0.
    """
    eta, h, noise = real("eta", eta), above("h", h, 0), at_least("sigma_p2", sigma_p2, 0)
    e = eta * h
    with np.errstate(divide="ignore", invalid="ignore"):
        moment = np.where((e > 0.0) & (e < 2.0), eta * noise / (h * (2.0 - e)), np.inf)
    return moment[()]


def msgd_opt_delta(eta_h: ArrayLike) -> Array:
    """The momentum of the fastest MSGD, ``(1 - sqrt(e)) / (1 + sqrt(e))``; negative for e > 1.

    There ``dh = sp(M) = (1 - sqrt(e))^2`` and the drift's eigenvalue ``1 - sqrt(e)`` is double,
    where SGD has ``(1 - e)^2``. (At e = 1 gradients reach the minimum at once: 0.)

    Thesis 5.1; docs/mathematics.md, 3.4. eta_h >= 0.
    """
    root = np.sqrt(at_least("eta_h", eta_h, 0))
    return (1.0 - root) / (1.0 + root)


def msgd_drift(eta_h: ArrayLike, delta: ArrayLike) -> Array:
    """Nesterov's method in the mean, on ``(v, x)``: ``[[dh, -e], [dh, 1 - e]]``.

    Thesis 5.1; docs/mathematics.md, 3.4. Its spectral radius, squared, is ``msgd_second_moment``'s.
    """
    e, dh = _rates(eta_h, delta)
    return matrix((dh, -e), (dh, 1.0 - e))


def msgd_second_moment(eta_h: ArrayLike, delta: ArrayLike) -> Array:
    """MSGD's map of ``(E v^2, E v x, E x^2)``, to which a step adds ``eta^2 sigma_p2 (1, 1, 1)``.

    ::

        [[dh^2, -2 e dh, e^2], [dh^2, (1 - 2 e) dh, -e (1 - e)], [dh^2, 2 (1 - e) dh, (1 - e)^2]]

    Thesis 5.1; docs/mathematics.md, 3.4.
    """
    e, dh = _rates(eta_h, delta)
    q = 1.0 - e
    return matrix(
        (dh**2, -2.0 * e * dh, e**2),
        (dh**2, (1.0 - 2.0 * e) * dh, -e * q),
        (dh**2, 2.0 * q * dh, q**2),
    )


def msgd_stationary(
    eta: ArrayLike, h: ArrayLike, delta: ArrayLike, sigma_p2: ArrayLike
) -> tuple[Array, Array, Array]:
    """Stationary ``(E x^2, E v^2, E v x)`` of MSGD.

    - ``E x^2 = eta^2 sigma_p2 (1 + dh) / ((1 - dh) e (2 (1 + dh) - e))``
    - ``E v^2 = 2 eta^2 sigma_p2 / ((1 - dh) (2 (1 + dh) - e))``, and ``E v x`` is half of it

    Thesis 5.1; docs/mathematics.md, 3.4. Infinite unless ``|dh| < 1`` and ``0 < e < 2 (1 + dh)``.
    h > 0, sigma_p2 >= 0.
    """
    eta, sigma_p2 = real("eta", eta), at_least("sigma_p2", sigma_p2, 0)
    e, dh = _rates(eta * above("h", h, 0), delta)
    stable = (np.abs(dh) < 1.0) & (e > 0.0) & (e < 2.0 * (1.0 + dh))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = eta**2 * sigma_p2 / ((1.0 - dh) * (2.0 * (1.0 + dh) - e))
        xx = np.where(stable, scale * (1.0 + dh) / e, np.inf)[()]
        vv = np.where(stable, 2.0 * scale, np.inf)[()]
    return xx, vv, vv / 2.0


def easgd_opt_alpha(eta_h: ArrayLike, beta: ArrayLike, p: ArrayLike = 1) -> Array:
    """The moving rate of the fastest center, ``-(sqrt(beta) - sqrt(e))^2``: never positive.

    There the drift's eigenvalue ``1 - sqrt(beta e)`` is double. With more than one worker the
    differences between them have the eigenvalue ``1 - alpha - e``, so that at ``alpha <= -e``
    (``beta >= 4 e``) they run away from each other while the center is optimal: a UserWarning if
    ``p > 1``.

    Thesis 5.1; docs/mathematics.md, 3.4 and, for the caveat, its errata. eta_h >= 0, beta >= 0,
    p >= 1.
    """
    e, beta = at_least("eta_h", eta_h, 0), at_least("beta", beta, 0)
    alpha: Array = -((np.sqrt(beta) - np.sqrt(e)) ** 2)
    if np.any((at_least("p", p, 1) > 1.0) & (alpha <= -e)):
        warnings.warn(
            "alpha <= -eta_h: the center is optimal, but the workers run away from each other",
            stacklevel=2,
        )
    return alpha


def easgd_second_moment(eta_h: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> Array:
    """EASGD's map of ``(E y^2, E y c, E c^2)``, to which a step adds ``eta^2 sigma_p2 (1, 0, 0)``.

    With ``u = 1 - alpha - e``::

        [[u^2, 2 u alpha, alpha^2],
         [u beta, u (1 - beta) + alpha beta, alpha (1 - beta)],
         [beta^2, 2 beta (1 - beta), (1 - beta)^2]]

    Thesis 5.1; docs/mathematics.md, 3.4. Its spectral radius is the square of that of the mean
    system, ``two_rate_map("jacobi", eta_h, alpha, beta)``.
    """
    e, alpha, beta = real("eta_h", eta_h), real("alpha", alpha), real("beta", beta)
    u, rest = 1.0 - alpha - e, 1.0 - beta
    return matrix(
        (u**2, 2.0 * u * alpha, alpha**2),
        (u * beta, u * rest + alpha * beta, alpha * rest),
        (beta**2, 2.0 * beta * rest, rest**2),
    )


def easgd_as_momentum(
    eta: ArrayLike, h: ArrayLike, alpha: ArrayLike, beta: ArrayLike
) -> tuple[Array, Array]:
    """``(beta eta, D)``: the center of EASGD is a heavy ball of that learning rate and momentum.

    ``c_{t+1} = c_t - beta eta (h c_t - xi_{t-1}) + D (c_t - c_{t-1})`` with
    ``D = (1 - e)(1 - beta) - alpha`` and ``xi`` the mean noise of the workers, for any rates. At
    beta = 1 and alpha = -dh the workers' mean is MSGD's iterate, and the center follows a step
    behind.

    Thesis 5.1; docs/mathematics.md, 3.4. h > 0.
    """
    eta, alpha, beta = real("eta", eta), real("alpha", alpha), real("beta", beta)
    return beta * eta, (1.0 - eta * above("h", h, 0)) * (1.0 - beta) - alpha


def eamsgd_drift(eta_h: ArrayLike, delta: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> Array:
    """EAMSGD's mean system on ``(v, y, c)``.

    ``[[dh, -e, 0], [dh, 1 - e - alpha, alpha], [0, beta, 1 - beta]]``. Second moments are its
    Kronecker square. No closed form of the best delta is known.

    docs/mathematics.md, 3.4.
    """
    e, dh = _rates(eta_h, delta)
    alpha, beta = real("alpha", alpha), real("beta", beta)
    return matrix((dh, -e, 0.0), (dh, 1.0 - e - alpha, alpha), (0.0, beta, 1.0 - beta))


def _rates(eta_h: ArrayLike, delta: ArrayLike) -> tuple[Array, Array]:
    e = real("eta_h", eta_h)
    return e, real("delta", delta) * (1.0 - e)
