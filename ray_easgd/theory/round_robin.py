"""One worker after the other (thesis chapter 3; docs/mathematics.md, 3.2 and 3.3).

Noise-free maps on ``F(x) = x^2 / 2``: EASGD, linearized ADMM, and DOWNPOUR for contrast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ray_easgd.theory.arguments import Array, above, at_least, real, whole, whole_numbers


def easgd_rr_alpha_max(eta: ArrayLike, h: ArrayLike) -> Array:
    """The largest moving rate at which no turn of round-robin EASGD expands.

    ``(4 - 2 e) / (4 - e)`` with ``e = eta h``: the active pair's map
    ``[[1 - e - alpha, alpha], [alpha, 1 - alpha]]`` is symmetric, and its eigenvalues lie in
    [-1, 1] iff ``0 <= e <= 2`` and ``0 <= alpha <= (4 - 2 e) / (4 - e)``.

    Paper, section 3.1; docs/mathematics.md, 3.2. Sufficient for every p and exact for p = 1; a
    round of p = 2 stays stable a little beyond (an erratum: docs/mathematics.md, 4). Nan outside
    ``0 <= e <= 2``, where no rate will do. h > 0.
    """
    e = real("eta", eta) * above("h", h, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        most: Array = np.where((e >= 0.0) & (e <= 2.0), (4.0 - 2.0 * e) / (4.0 - e), np.nan)[()]
    return most


def easgd_rr_map(p: int, eta: ArrayLike, alpha: ArrayLike) -> Array:
    """One round of EASGD, ``F^p .. F^1`` on ``(x^1, .., x^p, c)``: shape (..., p + 1, p + 1).

    Turn i: ``x^i <- x^i - eta x^i - alpha (x^i - c)``, ``c <- c + alpha (x^i_old - c)``.

    Paper, section 3.1; docs/mathematics.md, 2.8 and 3.2. h = 1: else give ``eta h`` for eta.
    """
    p, eta, alpha = whole("p", p, 1), real("eta", eta), real("alpha", alpha)
    rows = _identity(p + 1, eta, alpha)
    eta, alpha = eta[..., None], alpha[..., None]
    for i in range(p):
        pull = alpha * (rows[..., i, :] - rows[..., p, :])
        rows[..., i, :] = (1.0 - eta) * rows[..., i, :] - pull
        rows[..., p, :] += pull
    return rows


def admm_rr_map(p: int, eta: ArrayLike, rho: ArrayLike) -> Array:
    """One round of ADMM on ``(m^1, x^1, .., m^p, x^p, c)``: shape (..., 2 p + 1, 2 p + 1).

    Turn i: ``m^i <- m^i - (x^i - c)``, then
    ``x^i <- ((1 - eta) x^i + eta rho (m^i + c)) / (1 + eta rho)`` with the new ``m^i``, then
    ``c <- mean_j (x^j - m^j)``.

    Paper, sections 2.3 and 3.1 (which writes lambda for m); docs/mathematics.md, 2.7 and 3.2. No
    turn alone has a spectral radius above 1; from p = 3 on the round can. eta >= 0, rho >= 0;
    h = 1: else give ``eta h`` and ``rho / h``.
    """
    p = whole("p", p, 1)
    eta, rho = at_least("eta", eta, 0), at_least("rho", rho, 0)
    rows = _identity(2 * p + 1, eta, rho)
    pull, eta = (eta * rho)[..., None], eta[..., None]
    for i in range(p):
        m, x, c = rows[..., 2 * i, :], rows[..., 2 * i + 1, :], rows[..., 2 * p, :]
        m -= x - c
        x[...] = ((1.0 - eta) * x + pull * (m + c)) / (1.0 + pull)
        c[...] = (rows[..., 1:-1:2, :] - rows[..., 0:-1:2, :]).mean(axis=-2)
    return rows


def downpour_rr_eta_max(p: ArrayLike) -> Array:
    """The learning rate (times h) below which round-robin DOWNPOUR of period 1 is stable.

    ``2 sin(pi / (2 (2 p - 1)))``, the bound of ``c_{t+1} = c_t - e c_{t-(p-1)}``: a worker's
    gradient is p - 1 updates old.

    docs/mathematics.md, 3.3 (derived there; not in the thesis). p a whole number >= 1.
    """
    return 2.0 * np.sin(np.pi / (2.0 * (2.0 * whole_numbers("p", p, 1) - 1.0)))


def _identity(size: int, *parameters: Array) -> Array:
    """An identity for each point of the grid; its rows become those of the round."""
    shape = np.broadcast_shapes(*(parameter.shape for parameter in parameters))
    return np.broadcast_to(np.eye(size), (*shape, size, size)).copy()
