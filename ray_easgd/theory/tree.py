"""The EASGD Tree, in its linear theory (thesis 6.1; docs/mathematics.md, 2.10).

A symmetric tree of fan-out d whose nodes all move at once: ``M = I - alpha L - eta_h diag(leaf)``
with the tree's Laplacian L. Only leaves take gradients. A derivation of docs/mathematics.md: the
thesis's own tree exchanges messages without synchrony.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from ray_easgd.theory.arguments import Array, Flags, above, at_least, real, whole
from ray_easgd.theory.spectra import spectral_radius


def tree_laplacian(d: int, depth: int = 2) -> Array:
    """The Laplacian of a tree of fan-out ``d``: root first, then level by level.

    Its largest eigenvalue at depth 2 is ``d + 1 + sqrt(d)`` (21 at d = 16), and the non-zero modes
    that are alike on each level are ``d + 1 +- sqrt(d)``.

    docs/mathematics.md, 2.10. d >= 1, depth >= 1 (the number of levels of edges).
    """
    d, depth = whole("d", d, 1), whole("depth", depth, 1)
    starts = [0, *np.cumsum([d**k for k in range(depth + 1)])]
    laplacian = np.zeros((starts[-1], starts[-1]))
    for above_, below in pairwise(starts[:-1]):
        children = np.arange(below, below + d * (below - above_))
        parents = above_ + (children - below) // d
        laplacian[children, parents] = laplacian[parents, children] = -1.0
    np.fill_diagonal(laplacian, -laplacian.sum(axis=1))
    return laplacian


def tree_map(d: int, depth: int, eta_h: float, alpha: float) -> Array:
    """All nodes in one round, ``I - alpha L - eta_h diag(leaf)``, in the order of the Laplacian.

    docs/mathematics.md, 2.10. Symmetric, so that its spectrum is real.
    """
    laplacian = tree_laplacian(d, depth)
    leaf = np.zeros(len(laplacian))
    leaf[-(int(d) ** int(depth)) :] = 1.0
    tree: Array = np.eye(len(laplacian)) - alpha * laplacian - np.diag(eta_h * leaf)
    return tree


def tree_level_map(d: int, depth: int, eta_h: ArrayLike, alpha: ArrayLike) -> Array:
    """The means of the levels, leaves first, in one round: shape (..., depth + 1, depth + 1).

    At depth 2 ``[[1 - eta_h - alpha, alpha, 0], [alpha d, 1 - (d + 1) alpha, alpha],
    [0, alpha d, 1 - alpha d]]``. Both the slowest mode of the whole tree and the one that turns
    unstable first are alike on each level, so this is all that stability needs.

    docs/mathematics.md, 2.10.
    """
    e, alpha = real("eta_h", eta_h), real("alpha", alpha)
    levels = _levels(d, depth)
    leaf = np.zeros_like(levels)
    leaf[0, 0] = 1.0
    means: Array = np.eye(len(levels)) - alpha[..., None, None] * levels - e[..., None, None] * leaf
    return means


def tree_alpha_max(d: int, depth: int = 2, eta_h: ArrayLike = 0.0) -> Array:
    """The moving rate at which the tree turns unstable; ``2 / (d + 1 + sqrt(d))`` at depth 2.

    Exactly, it is the inverse of the largest eigenvalue of ``W^-1 L`` with
    ``W = 2 I - eta_h diag(leaf)``. Its mode alternates in sign from level to level and is alike on
    each: the tree has two colors, so ``|L|``, whose first eigenvector is positive, has the same
    spectrum. A gradient step lowers it a little: .094 at d = 16, eta_h = .5.

    docs/mathematics.md, 2.10. 0 <= eta_h; from 2 on the answer is 0.
    """
    e, levels = at_least("eta_h", eta_h, 0), _levels(d, depth)
    leaf_room = np.maximum(2.0 - e, 0.0)
    room = np.full((*e.shape, len(levels)), 2.0)
    room[..., 0] = np.where(leaf_room > 0.0, leaf_room, 1.0)
    largest = np.linalg.eigvals(levels / room[..., None]).real.max(axis=-1)
    most: Array = np.where(leaf_room > 0.0, 1.0 / largest, 0.0)[()]
    return most


def tree_root_variance(
    d: int, depth: int, eta: ArrayLike, h: ArrayLike, alpha: ArrayLike, sigma2: ArrayLike
) -> Array:
    """Stationary ``E root^2``: the means of the levels driven by ``eta^2 sigma2 / d^depth``.

    docs/mathematics.md, 2.10. Infinite where the means are not stable. h > 0, sigma2 >= 0.
    """
    eta, sigma2 = real("eta", eta), at_least("sigma2", sigma2, 0)
    m = tree_level_map(d, depth, eta * above("h", h, 0), alpha)
    n = m.shape[-1]
    noise = np.zeros((*np.broadcast_shapes(m.shape[:-2], sigma2.shape), n * n, 1))
    noise[..., 0, 0] = eta**2 * sigma2 / float(d) ** depth
    stable: Flags = spectral_radius(m) < 1.0
    squared = np.einsum("...ij,...kl->...ikjl", m, m).reshape(*m.shape[:-2], n * n, n * n)
    system = np.where(stable[..., None, None], np.eye(n * n) - squared, np.eye(n * n))
    root: Array = np.where(stable, np.linalg.solve(system, noise)[..., -1, 0], np.inf)[()]
    return root


def _levels(d: int, depth: int) -> Array:
    """The Laplacian on vectors that are alike on each level, leaves first."""
    d, depth = whole("d", d, 1), whole("depth", depth, 1)
    levels = np.zeros((depth + 1, depth + 1))
    for k in range(depth):
        levels[k, k] += 1.0
        levels[k, k + 1] -= 1.0
        levels[k + 1, k + 1] += d
        levels[k + 1, k] -= d
    return levels
