"""Two wells, where the center can be trapped between them (thesis 5.3; docs/mathematics.md, 3.6).

``F(x) = (1 - x^2)^2 / 4`` for each worker, tied to the center c by ``rho / 2 (x - c)^2``. At the
*split* half of the workers sit at ``s = sqrt(1 - rho)`` and half at ``-s``, the center at 0, which
is no minimum of F.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ray_easgd.theory.arguments import Array, between, whole
from ray_easgd.theory.spectra import matrix


def double_well_hessian(rho: ArrayLike, p: int = 2) -> Array:
    """The Hessian at the split on ``(x^1, .., x^p, c)``, shape (..., p + 1, p + 1).

    On the diagonal ``2 - 2 rho`` for workers and ``p rho`` for the center, ``-rho`` between a
    worker and the center. The split is a strict minimum, and the workers trapped, iff
    0 < rho < 2/3, whatever p.

    Thesis 5.3; docs/mathematics.md, 3.6. 0 <= rho <= 1, where the split exists; p even, so that it
    can be half and half.
    """
    rho, p = between("rho", rho, 0, 1), whole("p", p, 2)
    if p % 2:
        raise ValueError(f"p = {p}: must be even, as half of the workers sit in each well")
    hessian = np.zeros((*rho.shape, p + 1, p + 1))
    workers = np.arange(p)
    hessian[..., workers, workers] = (2.0 - 2.0 * rho)[..., None]
    hessian[..., p, :p] = hessian[..., :p, p] = -rho[..., None]
    hessian[..., p, p] = p * rho
    return hessian


def double_well_lambda_min(rho: ArrayLike) -> Array:
    """Its smallest eigenvalue for two workers, ``1 - sqrt(1 - 4 rho + 6 rho^2)``.

    The others are ``1 + sqrt(..)`` and ``2 - 2 rho``. Largest, .4226, at rho = 1/3; 0 at 2/3.

    Thesis 5.3; docs/mathematics.md, 3.6. 0 <= rho <= 1.
    """
    rho = between("rho", rho, 0, 1)
    return 1.0 - np.sqrt(1.0 - 4.0 * rho + 6.0 * rho**2)


def double_well_by_side(rho: ArrayLike, p: int = 2) -> Array:
    """The Hessian where all workers of a side move alike, on ``(left, right, c)``.

    ``[[2 - 2 rho, 0, -rho], [0, 2 - 2 rho, -rho], [-rho p/2, -rho p/2, p rho]]``: not symmetric,
    and 0 is an eigenvalue at rho = 2/3 for every p.

    docs/mathematics.md, 3.6. 0 <= rho <= 1, p even.
    """
    rho, p = between("rho", rho, 0, 1), whole("p", p, 2)
    half = -rho * p / 2.0
    side = 2.0 - 2.0 * rho
    return matrix((side, 0.0, -rho), (0.0, side, -rho), (half, half, p * rho))
