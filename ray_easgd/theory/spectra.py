"""Matrices over arrays of hyper-parameters, their spectral radii, and searches along one of them.

A matrix has its two axes last: ``(..., n, n)`` over hyper-parameters of shape ``(...)``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ray_easgd.theory.arguments import Array

_EPS = float(np.finfo(np.float64).eps)


def matrix(*rows: tuple[Array | float, ...]) -> Array:
    """The matrix with these rows, whose entries broadcast against each other."""
    shape = np.broadcast_shapes(*(np.shape(entry) for row in rows for entry in row))
    wide = [np.stack([np.broadcast_to(entry, shape) for entry in row], axis=-1) for row in rows]
    return np.stack(wide, axis=-2).astype(np.float64)


def spectral_radius(m: Array) -> Array:
    """The largest magnitude of an eigenvalue of ``m``, shape (..., n, n).

    Of a 2x2 matrix from trace and determinant, where a discriminant within rounding of 0 *is* 0:
    at the best momentum the eigenvalue is double and the matrix defective, and a general solver
    is off there by the square root of the rounding (docs/mathematics.md, 6).
    """
    if m.shape[-2:] == (2, 2):
        return _radius_2x2(m)
    radius: Array = np.abs(np.linalg.eigvals(m)).max(axis=-1)
    return radius


def _radius_2x2(m: Array) -> Array:
    """``(|T| + sqrt(T^2 - 4 D)) / 2``, or ``sqrt(D)`` where the roots are complex."""
    a, b, c, d = m[..., 0, 0], m[..., 0, 1], m[..., 1, 0], m[..., 1, 1]
    discriminant = (a - d) ** 2 + 4.0 * b * c
    rounding = 8.0 * _EPS * ((a - d) ** 2 + 4.0 * np.abs(b * c))
    discriminant = np.where(np.abs(discriminant) <= rounding, 0.0, discriminant)
    real = (np.abs(a + d) + np.sqrt(np.maximum(discriminant, 0.0))) / 2.0
    modulus = np.sqrt(np.maximum(a * d - b * c, 0.0))
    radius: Array = np.where(discriminant < 0.0, modulus, real)[()]
    return radius


def lowest(
    f: Callable[[Array], Array], low: Array, high: Array, *, points: int = 65, rounds: int = 10
) -> tuple[Array, Array]:
    """Where ``f`` is smallest in (low, high), and its value there: a grid, zoomed into.

    ``f`` takes an array with one axis in front of those of ``low`` and ``high``, and must have
    one minimum between neighbors of its first, coarse grid.
    """
    low, high = np.broadcast_arrays(low, high)
    at, value = low, np.full(low.shape, np.inf)
    for k in range(rounds):
        inner = np.linspace(0.0, 1.0, (points if k == 0 else 17) + 2)[1:-1]
        grid = low + (high - low) * inner.reshape(-1, *[1] * low.ndim)
        values = f(grid)
        best = values.argmin(axis=0)[None]
        step = (high - low) * (inner[1] - inner[0])
        at = np.take_along_axis(grid, best, axis=0)[0]
        value = np.take_along_axis(values, best, axis=0)[0]
        low, high = np.maximum(low, at - step), np.minimum(high, at + step)
    return at[()], value[()]


def stable_up_to(
    radius: Callable[[Array], Array], high: Array, *, points: int = 65, rounds: int = 40
) -> Array:
    """The end of the first stretch (0, x) on which ``radius`` is below 1, at most ``high``.

    A grid finds the stretch, bisection its end. 0 where even the first point of the grid is not
    stable.
    """
    inner = np.linspace(0.0, 1.0, points + 1)[1:]
    grid = high * inner.reshape(-1, *[1] * np.ndim(high))
    stable = np.logical_and.accumulate(radius(grid) < 1.0, axis=0)
    step = high / points
    low = stable.sum(axis=0) * step
    top = np.minimum(low + step, high)
    for _ in range(rounds):
        middle = (low + top) / 2.0
        fine = radius(middle[None])[0] < 1.0
        low, top = np.where(fine, middle, low), np.where(fine, top, middle)
    edge: Array = np.where(stable.any(axis=0), low, 0.0)[()]
    return edge
