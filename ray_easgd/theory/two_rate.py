"""Jacobi against Gauss-Seidel, and long periods (thesis 6.2; docs/mathematics.md, 2.9 and 3.3).

Worker rate ``a``, center rate ``b`` per worker, ``B = p b``; ``q = 1 - eta_h``. EASGD is Jacobi
with a = b; synchronous DOWNPOUR full Gauss-Seidel with a = b = 1; model averaging a = 1, b = 1/p.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ray_easgd.theory.arguments import Array, at_least, real, whole_numbers
from ray_easgd.theory.spectra import matrix

SCHEMES = (
    "jacobi",
    "gauss_seidel_center_first",
    "gauss_seidel_worker_first",
    "full_gauss_seidel",
)


def two_rate_map(scheme: str, eta_h: ArrayLike, a: ArrayLike, B: ArrayLike) -> Array:
    """One round in the mean, on ``(y, c)``, shape (..., 2, 2).

    - ``jacobi``: ``[[q - a, a], [B, 1 - B]]``
    - ``gauss_seidel_center_first``, ``c' = (1 - B) c + B y`` and then ``y' = q y + a (c' - y)``:
      ``[[q - a + a B, a (1 - B)], [B, 1 - B]]``
    - ``gauss_seidel_worker_first``, ``y' = q y + a (c - y)`` and then ``c' = (1 - B) c + B y'``:
      ``[[q - a, a], [B (q - a), 1 - B + a B]]``, of the same spectrum
    - ``full_gauss_seidel``, ``c'`` and then ``y' = q (y + a (c' - y))``:
      ``[[q (1 - a + a B), q a (1 - B)], [B, 1 - B]]``

    Thesis 6.2; docs/mathematics.md, 2.9, with trace and determinant. Any rates; ``scheme`` one of
    those four.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme = {scheme!r}: must be one of {', '.join(SCHEMES)}")
    q, a, B = 1.0 - real("eta_h", eta_h), real("a", a), real("B", B)
    rest = 1.0 - B
    if scheme == "jacobi":
        return matrix((q - a, a), (B, rest))
    if scheme == "gauss_seidel_center_first":
        return matrix((q - a + a * B, a * rest), (B, rest))
    if scheme == "gauss_seidel_worker_first":
        return matrix((q - a, a), (B * (q - a), rest + a * B))
    return matrix((q * (1.0 - a + a * B), q * a * rest), (B, rest))


def easgd_period_map(eta_h: ArrayLike, alpha: ArrayLike, beta: ArrayLike, tau: ArrayLike) -> Array:
    """EASGD with aligned clocks: ``diag(q^(tau-1), 1)`` times the Jacobi map, on ``(y, c)``.

    docs/mathematics.md, 3.3 (derived there). tau a whole number >= 1.
    """
    steps = (1.0 - real("eta_h", eta_h)) ** (whole_numbers("tau", tau, 1) - 1.0)
    round_ = two_rate_map("jacobi", eta_h, alpha, beta)
    return round_ * matrix((steps,), (1.0,))


def downpour_factor(eta_h: ArrayLike, tau: ArrayLike, p: ArrayLike) -> Array:
    """What a period multiplies the center of synchronous DOWNPOUR by: ``1 - p (1 - q^tau)``.

    Stable iff ``p (1 - q^tau) < 2``: a long period is its undoing, where EASGD's map only contracts
    more. docs/mathematics.md, 3.3 (derived there). tau a whole number >= 1, p >= 1.
    """
    q, p = 1.0 - real("eta_h", eta_h), at_least("p", p, 1)
    factor: Array = 1.0 - p * (1.0 - np.power(q, whole_numbers("tau", tau, 1)))
    return factor
