"""Multiplicative noise, the initial phase: figures E10 to E13 (docs/mathematics.md, 3.5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ray_easgd import theory
from ray_easgd.figures import fleets
from ray_easgd.figures.drawing import BEST, ON_A_MAP, dots, legend, line, powers_of_two, radius_map
from ray_easgd.figures.outcome import Check, Found, mean_of, nothing, number, quoted, true
from ray_easgd.simulator import GammaQuadratic
from ray_easgd.theory import spectral_radius
from ray_easgd.theory.arguments import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

ONE_WORKER = np.array([0.0, 0.0, 1.0])
"""MSGD's moments (vv, vx, xx) at the start."""
FLEET = np.ones(4)
"""EASGD's (xx, xx', xc, cc)."""
MOMENTUM_FLEET = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0])
"""EAMSGD's nine."""

_REPETITIONS = 50000


def sgd_rate(*, lams: Sequence[float], p_max: int) -> Found:
    """E10: densities of the noise, and the best rate of mini-batch SGD against p."""
    ps = 2 ** np.arange(int(math.log2(p_max)) + 1)
    rates = {lam: theory.sgd_mult_opt(lam, lam, ps)[1] for lam in lams}
    published = {(0.5, 16): 0.1111, (1.0, 16): 0.0588, (10.0, 16): 0.0062, (0.5, 64): 0.0303}
    checks = [
        *(quoted(f"best rate, lambda = {lam}, p = {p}", theory.sgd_mult_opt(lam, lam, p)[1], r, 4)
          for (lam, p), r in published.items()),
        *(_one_step(lam, p) for lam in lams for p in (1, 4)),
    ]  # fmt: skip
    rows = [
        {"lambda": lam, "p": int(p), "best_rate": rates[lam][k]}
        for lam in lams
        for k, p in enumerate(ps)
    ]

    def draw(canvas: Canvas) -> None:
        left, right = canvas.subplots(1, 2)
        xi = np.linspace(0.01, 3.0, 300)
        for lam in lams:
            line(left, xi, _density(xi, lam), rf"$\lambda = \omega$ = {lam:g}")
            line(right, ps, rates[lam], marker="o", markersize=3)
        left.set(xlabel=r"noise $\xi$", ylabel="density", ylim=(0.0, 2.0))
        powers_of_two(right, [1, 4, 16, 64, 256, 1024])
        right.set(yscale="log", xlabel="mini-batch p", ylabel=r"best rate of $E x^2$ per step")
        legend(canvas, left)

    return Found(checks=checks, rows=rows, draw=draw, size=(9.0, 3.9))


def _density(xi: Array, lam: float) -> Array:
    """Of ``Gamma(lam, lam)``, whose mean is 1."""
    logs = lam * math.log(lam) - math.lgamma(lam) + (lam - 1.0) * np.log(xi) - lam * xi
    density: Array = np.exp(logs)
    return density


def _one_step(lam: float, p: int) -> Check:
    """A step of SGD's at its best learning rate, on mini-batches: ``Gamma(p lam, p om)``."""
    eta, rate = theory.sgd_mult_opt(lam, lam, p)
    problem = GammaQuadratic(lam=p * lam, om=p * lam, size=_REPETITIONS)
    run = fleets.fleet(problem, fleets.registered("sgd"), p=1, eta=float(eta))
    run.run(seconds=1)
    name = f"simulated rate, lambda = {lam}, p = {p}"
    return mean_of(name, fleets.xs(run)[0].double().numpy() ** 2, rate)


def msgd_map(*, lam: float, p: int, points: int) -> Found:
    """E11: MSGD's spectral radius; the best momentum at the best learning rate is none."""
    eta = (np.arange(points) + 0.5) / points
    delta = -0.99 + (np.arange(points) + 0.5) * 1.98 / points
    radius = spectral_radius(theory.msgd_mult(*np.meshgrid(eta, delta), lam, lam, p))
    eta_best, rate = theory.sgd_mult_opt(lam, lam, p)
    published = {(0.05, 0.68): 0.756, (0.1, 0.566): 0.705, (0.2, 0.36): 0.671, (0.5, -0.369): 0.675}
    checks = [
        number("the least of the map", radius.min(), rate, 1e-3),
        true("nowhere below SGD's best", radius >= rate - 1e-9),
        *(quoted(f"eta = {e}, delta = {d}",
                 spectral_radius(theory.msgd_mult(e, d, lam, lam, p)), r, 3)
          for (e, d), r in published.items()),
        msgd_moments(0.3, 0.3, lam, steps=4),
    ]  # fmt: skip
    rows = [
        {"eta": eta[j], "delta": delta[k], "spectral_radius": radius[k, j]}
        for k, j in np.ndindex(radius.shape)
    ]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        radius_map(canvas, axes, eta, delta, radius, color_label="spectral radius of the moments")
        ridge = delta[radius.argmin(axis=0)]
        line(axes, eta, ridge, r"best momentum at each $\eta$", color="red", linestyle="--")
        dots(axes, [eta_best], [0.0], r"best of all: SGD, $\delta = 0$", **BEST)
        axes.set(xlabel=rf"learning rate $\eta$ ($\lambda = \omega$ = {lam:g}, p = {p})")
        axes.set(ylabel=r"momentum $\delta$", xlim=(0.0, 1.0), ylim=(-0.99, 0.99))
        legend(canvas, axes)

    return Found(checks=checks, rows=rows, draw=draw, size=(6.6, 4.8))


def msgd_moments(eta: float, delta: float, lam: float, *, steps: int) -> Check:
    """A simulated worker's ``E x^2`` after some steps, from ``x = 1``, ``v = 0``."""
    problem = GammaQuadratic(lam=lam, om=lam, size=_REPETITIONS)
    run = fleets.fleet(problem, fleets.registered("msgd"), p=1, eta=eta, momentum=delta)
    run.run(seconds=steps)
    m = theory.msgd_mult(eta, delta, lam, lam, 1)
    expected = (np.linalg.matrix_power(m, steps) @ ONE_WORKER)[2]
    name = f"simulated MSGD, eta = {eta}, delta = {delta}"
    return mean_of(name, fleets.xs(run)[0].double().numpy() ** 2, expected)


def easgd_moments(
    eta: float,
    alpha: float,
    lam: float,
    p: int,
    *,
    rounds: int,
    delta: float | None = None,
) -> Check:
    """A simulated fleet's ``E c^2`` after some rounds, ``beta = p alpha``; EAMSGD with delta."""
    algorithm = fleets.method("easgd" if delta is None else "eamsgd")
    problem = GammaQuadratic(lam=lam, om=lam, size=_REPETITIONS)
    options: dict[str, Any] = {} if delta is None else {"momentum": delta}
    run = fleets.fleet(problem, algorithm, p=p, eta=eta, alpha=alpha, **options)
    if delta is None:
        m, start = theory.easgd_mult(eta, alpha, p * alpha, lam, lam, p), FLEET
    else:
        m, start = theory.eamsgd_mult(eta, delta, alpha, p * alpha, lam, lam, p), MOMENTUM_FLEET
    expected = (np.linalg.matrix_power(m, rounds) @ start)[-1]
    name = f"simulated {algorithm.name}, lambda = {lam}, p = {p}, eta = {eta:.3g}"
    return mean_of(name, fleets.centers(run, [rounds])[0] ** 2, expected)


def easgd_rate(*, beta: float, lams: Sequence[float], p_max: int) -> Found:
    """E12: EASGD's best rate against p: the best number of workers is finite."""
    ps = np.unique(np.geomspace(1, p_max, 41).astype(int))
    rates = {lam: theory.easgd_mult_best_eta(lam, lam, beta, ps)[1] for lam in lams}
    best = {lam: theory.easgd_mult_best_p(lam, lam, beta) for lam in lams}
    published = {0.5: (6, 0.57419), 1.0: (7, 0.43168), 2.0: (9, 0.29451)}
    eta = theory.easgd_mult_best_eta(0.5, 0.5, beta, 6)[0]
    checks = [
        *(number(f"best p, lambda = {lam}", best[lam][0], p, 0)
          for lam, (p, _) in published.items()),
        *(quoted(f"best rate, lambda = {lam}", best[lam][1], r, 5)
          for lam, (_, r) in published.items()),
        quoted("floor with beta free, lambda = .5", theory.easgd_mult_limit(0.5)[1], 0.44898, 5),
        easgd_moments(float(eta), beta / 6, 0.5, 6, rounds=5),
        easgd_moments(0.4, beta / 2, 1.0, 2, rounds=5),
    ]  # fmt: skip
    rows = [
        {"lambda": lam, "p": int(p), "rate": rates[lam][k], "rate_of_one": 1.0 / (1.0 + lam)}
        for lam in lams
        for k, p in enumerate(ps)
    ]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for k, lam in enumerate(lams):
            line(axes, ps, rates[lam], rf"$\lambda = \omega$ = {lam:g}", color=f"C{k}")
            alone = 1.0 / (1.0 + lam)
            line(axes, ps[[0, -1]], [alone, alone], color=f"C{k}", linestyle=":")
            dots(axes, [best[lam][0]], [best[lam][1]], color=f"C{k}", markersize=7)
        line(axes, [], [], r"SGD alone, $1/(1+\lambda)$", color="gray", linestyle=":")
        dots(axes, [], [], "best p", color="gray", markersize=7)
        powers_of_two(axes, [1, 4, 16, 64, 256, 1024])
        axes.set(xlabel="workers p", ylabel=r"spectral radius at the best $\eta$", ylim=(0.0, 1.0))
        legend(canvas, axes, columns=3)

    values = {f"best_p_lambda_{lam:g}": best[lam][0] for lam in lams}
    return Found(checks=checks, rows=rows, draw=draw, values=values, size=(6.6, 4.6))


def eamsgd_map(*, lam: float, p: int, eta: float, delta: float, beta: float, points: int) -> Found:
    """E13: EAMSGD's spectral radius over learning rate and momentum, ``alpha = beta / p``."""
    etas = (np.arange(points) + 0.5) / points
    deltas = -0.9 + (np.arange(points) + 0.5) * 1.8 / points
    grid = np.meshgrid(etas, deltas)
    radius = spectral_radius(theory.eamsgd_mult(*grid, beta / p, beta, lam, lam, p))
    best = np.unravel_index(radius.argmin(), radius.shape)
    keep = [2, 5, 7, 8]
    plain = theory.eamsgd_mult(eta, 0.0, beta / p, beta, lam, lam, p)[np.ix_(keep, keep)]
    here = spectral_radius(theory.eamsgd_mult(eta, delta, beta / p, beta, lam, lam, p))
    checks = [
        number("best of the map", radius.min(), 0.562, 1.5e-3),
        quoted("without momentum at its best", theory.easgd_mult_best_eta(lam, lam, beta, p)[1],
               0.5855, 4),
        nothing("without momentum it is EASGD",
                plain - theory.easgd_mult(eta, beta / p, beta, lam, lam, p), 1e-12),
        easgd_moments(eta, beta / p, lam, p, rounds=5, delta=delta),
        easgd_moments(0.6, beta / p, lam, p, rounds=3, delta=-0.4),
    ]  # fmt: skip
    rows = [
        {"eta": etas[j], "delta": deltas[k], "spectral_radius": radius[k, j]}
        for k, j in np.ndindex(radius.shape)
    ]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        radius_map(canvas, axes, etas, deltas, radius, color_label="spectral radius of the moments")
        name = rf"$\eta$ = {eta}, $\delta$ = {delta}: {float(here):.3f}"
        dots(axes, [eta], [delta], name, **ON_A_MAP)
        dots(axes, [etas[best[1]]], [deltas[best[0]]], f"best: {radius.min():.3f}", **BEST)
        axes.set(xlabel=rf"learning rate $\eta$ ($\lambda = \omega$ = {lam:g}, p = {p})")
        axes.set(ylabel=r"momentum $\delta$", xlim=(0.0, 1.0), ylim=(-0.9, 0.9))
        legend(canvas, axes)

    values = {"spectral_radius": float(here)}
    return Found(checks=checks, rows=rows, draw=draw, values=values, size=(6.6, 4.8))
