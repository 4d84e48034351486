"""The methods' linear maps on F = h x^2 / 2, as the thesis and docs/mathematics.md write them.

Nothing here knows the implementation. Each map is its published iteration, run on unit vectors:
``x`` are the rows of p workers, ``c`` that of the center, and what is returned are the rows after
one round, one below the other. ``eh`` is the learning rate times the curvature, ``q = 1 - eh``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def spectral_radius(matrix: Array) -> float:
    """The largest magnitude of an eigenvalue."""
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def units(*sizes: int) -> list[Array]:
    """Rows of the identity, in groups; a group of 0 stands for a single row, not a list of one."""
    rows, groups, start = np.eye(sum(max(1, size) for size in sizes)), [], 0
    for size in sizes:
        groups.append(rows[start].copy() if size == 0 else rows[start : start + size].copy())
        start += max(1, size)
    return groups


def mean_system(matrix: Array, workers: int) -> Array:
    """What a map on p alike groups and a center does to the groups' means and the center."""
    groups = (len(matrix) - 1) // workers
    spread = np.zeros((len(matrix), groups + 1))
    for g in range(groups):
        spread[g * workers : (g + 1) * workers, g] = 1.0
    spread[-1, -1] = 1.0
    means: Array = (spread / spread.sum(0)).T @ matrix @ spread
    return means


# -- sequential (2.3, 2.6) -------------------------------------------------------------------


def sgd(q: float, average: float | None = None) -> Array:
    """``x' = q x``, which the center follows, on (x, c); with z: ``z' = (1 - a) z + a c``."""
    if average is None:
        return np.array([[q, 0.0], [q, 0.0]])
    a = average
    return np.array([[q, 0.0, 0.0], [q, 0.0, 0.0], [0.0, a, 1.0 - a]])


def msgd(eh: float, delta: float) -> Array:
    """The drift of thesis 5.1 on (v, x), as printed."""
    dh = delta * (1.0 - eh)
    return np.array([[dh, -eh], [dh, 1.0 - eh]])


def look_ahead(eh: float, delta: float) -> Array:
    """Nesterov at the look-ahead point, on (v, c): ``v' = delta v - eh c; c' = c + delta v' -
    eh c`` (2.5)."""
    return np.array([[delta, -eh], [delta**2, 1.0 - eh - delta * eh]])


# -- elastic, in lockstep (2.1, 2.9) -----------------------------------------------------------


def jacobi(p: int, q: float, a: float, b: float) -> Array:
    """``x' = q x + a (c - x); c' = c + b sum(x - c)``, both from the old; EASGD is a = b."""
    x, c = units(p, 0)
    return np.vstack([q * x + a * (c - x), c + b * (x - c).sum(0)])


def center_first(p: int, q: float, a: float, b: float) -> Array:
    """``c' = c + b sum(x - c); x' = q x + a (c' - x)``."""
    x, c = units(p, 0)
    c = c + b * (x - c).sum(0)
    return np.vstack([q * x + a * (c - x), c])


def worker_first(p: int, q: float, a: float, b: float) -> Array:
    """``x' = q x + a (c - x); c' = c + b sum(x' - c)``."""
    x, c = units(p, 0)
    x = q * x + a * (c - x)
    return np.vstack([x, c + b * (x - c).sum(0)])


def full_gauss_seidel(p: int, q: float, a: float, b: float) -> Array:
    """``c' = c + b sum(x - c); x <- x + a (c' - x); x' = q x`` at the moved point."""
    x, c = units(p, 0)
    c = c + b * (x - c).sum(0)
    return np.vstack([q * (x + a * (c - x)), c])


def trace_and_determinant(scheme: str, q: float, a: float, B: float) -> tuple[float, float]:
    """Of the mean system, ``B = p b`` (2.9), as printed."""
    eh = 1.0 - q
    if scheme == "jacobi":
        return 2.0 - eh - a - B, q * (1.0 - B) - a
    if scheme == "full_gauss_seidel":
        return q * (1.0 - a + a * B) + 1.0 - B, q * (1.0 - a) * (1.0 - B)
    return 2.0 - eh - a - B + a * B, (q - a) * (1.0 - B)


def moved_point(p: int, q: float, a: float, b: float) -> Array:
    """``c' = c + b sum(x - c); x <- x + a (c - x); x' = q x``: Jacobi with the gradient of the
    moved x, the order ``between_steps`` (2.12)."""
    x, c = units(p, 0)
    return np.vstack([q * (x + a * (c - x)), c + b * (x - c).sum(0)])


def moved_point_mean(q: float, alpha: float, beta: float) -> Array:
    """The same on (y, c), as printed in 2.12."""
    return np.array([[q * (1.0 - alpha), q * alpha], [beta, 1.0 - beta]])


def after_exchange(matrix: Array, q: float) -> Array:
    """The same iteration seen after its exchange: from ``M = G E`` to ``E G = G^-1 M G``.

    ``G = diag(q, .., q, 1)`` are the gradient steps.
    """
    gradient = np.array([q] * (len(matrix) - 1) + [1.0])
    moved: Array = matrix * gradient[None, :] / gradient[:, None]
    return moved


def over_period(matrix: Array, q: float, period: int) -> Array:
    """One exchange, then ``period - 1`` plain steps: ``diag(q^(tau - 1), 1) M`` (3.3)."""
    steps = np.array([[q ** (period - 1)]] * (len(matrix) - 1) + [[1.0]])
    product: Array = steps * matrix
    return product


def eamsgd(p: int, eh: float, delta: float, alpha: float) -> Array:
    """Thesis 5.1's drift, all workers at once, on (v, x, c)."""
    v, x, c = units(p, p, 0)
    dh = delta * (1.0 - eh)
    v = dh * v - eh * x
    return np.vstack([v, x + v - alpha * (x - c), c + alpha * (x - c).sum(0)])


def nesterov(p: int, eh: float, delta: float) -> Array:
    """A plain step of p workers on (v, x, c): ``v' = delta_h v - eh x; x' = x + v'``."""
    v, x, c = units(p, p, 0)
    v = delta * (1.0 - eh) * v - eh * x
    return np.vstack([v, x + v, c])


def eamsgd_mean(eh: float, delta: float, alpha: float, beta: float) -> Array:
    """Thesis 5.1's drift on (v, y, c), as printed."""
    dh = delta * (1.0 - eh)
    return np.array([[dh, -eh, 0.0], [dh, 1.0 - eh - alpha, alpha], [0.0, beta, 1.0 - beta]])


# -- one worker after the other (2.4, 2.7, 2.8) ---------------------------------------------


def pair(eh: float, alpha: float) -> Array:
    """The active pair of round-robin EASGD, on (x, c), as printed (3.2)."""
    return np.array([[1.0 - eh - alpha, alpha], [alpha, 1.0 - alpha]])


def round_robin(p: int, eh: float, alpha: float) -> Array:
    """``x^i' = x^i - eh x^i - alpha (x^i - c); c' = c + alpha (x^i - c)``, for i = 1 .. p."""
    x, c = units(p, 0)
    for i in range(p):
        d = alpha * (x[i] - c)
        x[i], c = x[i] - eh * x[i] - d, c + d
    return np.vstack([x, c])


def moved_point_round(p: int, q: float, alpha: float) -> Array:
    """``x^i <- q x^i; d = alpha (x^i - c); x^i <- x^i - d; c <- c + d``, for i = 1 .. p."""
    x, c = units(p, 0)
    for i in range(p):
        d = alpha * (q * x[i] - c)
        x[i], c = q * x[i] - d, c + d
    return np.vstack([x, c])


def eamsgd_round(p: int, eh: float, delta: float, alpha: float) -> Array:
    """Round-robin EAMSGD on (v, x, c)."""
    v, x, c = units(p, p, 0)
    for i in range(p):
        d = alpha * (x[i] - c)
        v[i] = delta * (1.0 - eh) * v[i] - eh * x[i]
        x[i], c = x[i] + v[i] - d, c + d
    return np.vstack([v, x, c])


def admm_round(p: int, eh: float, er: float) -> Array:
    """Linearized ADMM on (m, x, c), ``F^p .. F^1`` (3.2); ``er`` is eta rho."""
    m, x, c = units(p, p, 0)
    for i in range(p):
        m[i] = m[i] - (x[i] - c)
        x[i] = (er * m[i] + (1.0 - eh) * x[i] + er * c) / (1.0 + er)
        c = (x - m).mean(0)
    return np.vstack([m, x, c])


def admm_async_round(p: int, eh: float, er: float) -> Array:
    """ADMM where a worker computes with the center of its own last turn, on (m, x, k).

    ``k`` are those centers. A turn is the second, the third and then the first line of
    ``admm_round``: x from the center held, the mean of all slots, the multiplier by the new
    center. What i pushed last, its slot, is then ``k^i - m^i``.
    """
    m, x, k = units(p, p, p)
    for i in range(p):
        x[i] = (er * m[i] + (1.0 - eh) * x[i] + er * k[i]) / (1.0 + er)
        slots = k - m
        slots[i] = x[i] - m[i]
        k[i] = slots.mean(0)
        m[i] = m[i] - (x[i] - k[i])
    return np.vstack([m, x, k])


def downpour_round(p: int, q: float, averages: Sequence[float] = ()) -> Array:
    """``c <- c + (q - 1) x^i; x^i <- c`` for i = 1 .. p, on (x), where ``c = x^p``.

    With ``averages``, one rate a push, on (x, z): ``z <- (1 - a) z + a c`` before each.
    """
    groups = units(p, 0) if averages else [*units(p), np.zeros(p)]
    x, z = groups
    c = x[-1].copy()
    for i in range(p):
        z = z + (averages[i] if averages else 0.0) * (c - z)
        c = c + (q - 1.0) * x[i]
        x[i] = c
    return np.vstack([x, z]) if averages else x


def delay_line(p: int, eh: float) -> Array:
    """``c_{t+1} = c_t - eh c_{t-(p-1)}`` (3.3) on (c_{t-p+1}, .., c_t), after p steps."""
    step = np.eye(p, k=1)
    step[-1, -1] += 1.0
    step[-1, 0] -= eh
    return np.linalg.matrix_power(step, p)


def mdownpour_round(p: int, eh: float, delta: float) -> Array:
    """``v <- delta v - eh x^i; c <- c + delta v - eh x^i; x^i <- c``, on (v, x), ``c = x^p``."""
    v, x = units(0, p)
    c = x[-1].copy()
    for i in range(p):
        v = delta * v - eh * x[i]
        c = c + delta * v - eh * x[i]
        x[i] = c
    return np.vstack([v, x])


# -- outer steps (2.4, 2.13) ------------------------------------------------------------------


def downpour_factor(p: int, q: float, period: int) -> Array:
    """The center of synchronous DOWNPOUR: ``1 - p (1 - q^tau)`` (3.3)."""
    return np.array([[1.0 - p * (1.0 - q**period)]])


def outer(q: float, period: int, lr: float, momentum: float) -> Array:
    """DiLoCo on (v, c): ``v' = mu v + D; c' = c - lr (D + mu v')``, ``D = (1 - q^tau) c``."""
    v, c = np.eye(2)
    D = (1.0 - q**period) * c
    v = momentum * v + D
    return np.vstack([v, c - lr * (D + momentum * v)])


def delayed_outer(p: int, q: float, period: int, lr: float, momentum: float) -> Array:
    """Asynchronous DiLoCo, N = p, one after the other, on (v, x), where ``c = x^p``."""
    v, x = units(0, p)
    c, total = x[-1].copy(), np.zeros(p + 1)
    for i in range(p):
        D = (1.0 - q**period) * x[i]
        c, total = c - lr * D / p, total + D / p
        if i == p - 1:
            v = momentum * v + total
            c = c - lr * momentum * v
        x[i] = c
    return np.vstack([v, x])


def local_sgd(q: float, period: int) -> Array:
    """The center becomes the mean of workers that started from it: ``c' = q^tau c``."""
    return np.array([[q**period]])
