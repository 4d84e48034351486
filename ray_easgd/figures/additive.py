"""Additive noise, the asymptotic phase: figures E7, E8, E9 (docs/mathematics.md, 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ray_easgd import theory
from ray_easgd.figures import fleets
from ray_easgd.figures.drawing import ON_A_MAP, dots, legend, line, radius_map
from ray_easgd.figures.outcome import Check, Found, mean_of, nothing, number, quoted
from ray_easgd.theory import spectral_radius
from ray_easgd.theory.arguments import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_POINTS = ((0.1, 0.9), (0.25, 1.0 / 3.0), (1.5, -0.3))


def msgd_map(*, points: int) -> Found:
    """E7: MSGD's spectral radius over learning rate and momentum, and the best momentum."""
    e = (np.arange(points) + 0.5) * 2.0 / points
    delta = -1.0 + (np.arange(points) + 0.5) * 2.0 / points
    radius = spectral_radius(theory.msgd_drift(*np.meshgrid(e, delta))) ** 2
    best = theory.msgd_opt_delta(e)
    checks = [
        nothing("the best momentum on the grid", delta[radius.argmin(axis=0)] - best, 2.5 / points),
        number("spectral radius at .25, 1/3", spectral_radius(theory.msgd_drift(0.25, 1 / 3)) ** 2,
               0.25, 1e-12),
        number("the square of moments there",
               spectral_radius(theory.msgd_second_moment(0.25, 1 / 3)), 0.25, 1e-4),
        *(_drift_of_msgd(*point) for point in _POINTS),
        _stationary_msgd(),
    ]  # fmt: skip
    rows = [
        {"eta_h": e[j], "delta": delta[k], "spectral_radius": radius[k, j]}
        for k, j in np.ndindex(radius.shape)
    ]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        radius_map(canvas, axes, e, delta, radius, color_label="spectral radius of the moments")
        line(axes, e, best, r"best momentum $\delta^*$", color="red", linestyle="--")
        e_seen, delta_seen = np.array(_POINTS).T
        dots(axes, e_seen, delta_seen, "compared with the runtime's step", **ON_A_MAP)
        axes.set(xlabel=r"learning rate times curvature, $\eta h$", ylabel=r"momentum $\delta$")
        axes.set(xlim=(0.0, 2.0), ylim=(-1.0, 1.0))
        legend(canvas, axes)

    return Found(checks=checks, rows=rows, draw=draw, size=(6.6, 4.8))


def _drift_of_msgd(eta_h: float, delta: float) -> Check:
    measured = fleets.measured_map(
        fleets.registered("msgd"),
        p=1,
        eta_h=eta_h,
        momentum=delta,
        state=fleets.velocities_and_xs,
        center="none",
    )
    off = measured - theory.msgd_drift(eta_h, delta)
    return nothing(f"simulated MSGD, eta_h = {eta_h:g}, delta = {delta:.3g}", off)


def _stationary_msgd(steps: int = 60) -> Check:
    """From rest at the minimum; after 60 steps less than 1e-6 is missing."""
    problem = fleets.quadratic(sigma=1.0, x0=0.0, size=20000)
    run = fleets.fleet(problem, fleets.registered("msgd"), p=1, eta=0.25, momentum=1.0 / 3.0)
    run.run(seconds=steps)
    expected = theory.msgd_stationary(0.25, 1.0, 1.0 / 3.0, 1.0)[0]
    return mean_of("simulated variance at .25, 1/3", fleets.xs(run)[0].numpy() ** 2, expected)


def easgd_map(*, beta: float, points: int) -> Found:
    """E8: EASGD's spectral radius over learning rate and moving rate, and the best of it."""
    e = (np.arange(points) + 0.5) * 2.0 / points
    alpha = -1.0 + (np.arange(points) + 0.5) * 2.0 / points
    grid = np.meshgrid(e, alpha)
    radius = spectral_radius(theory.two_rate_map("jacobi", *grid, beta)) ** 2
    best = theory.easgd_opt_alpha(e, beta)
    at_half = float(theory.easgd_opt_alpha(0.5, beta))
    places = ((0.1, -0.4), (0.5, at_half), (0.5, 0.225))
    checks = [
        nothing("the best rate on the grid", alpha[radius.argmin(axis=0)] - best, 2.5 / points),
        quoted("drift at .1, -.4", _drift(0.1, -0.4, beta), 0.70, 9),
        quoted("drift at .1, .225", _drift(0.1, 0.225, beta), 0.9215, 4),
        quoted("drift at .5, best", _drift(0.5, at_half, beta), 0.3292, 4),
        *(_one_worker(*place, beta) for place in places),
    ]
    rows = [
        {"eta_h": e[j], "alpha": alpha[k], "spectral_radius": radius[k, j]}
        for k, j in np.ndindex(radius.shape)
    ]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        radius_map(canvas, axes, e, alpha, radius, color_label="spectral radius of the moments")
        line(axes, e, best, r"best rate $\alpha^*$ of the center", color="red", linestyle="--")
        apart = r"$\alpha = -\eta h$: below, workers run apart ($p > 1$)"
        line(axes, [0.0, 1.0], [0.0, -1.0], apart, color="orange")
        e_seen, alpha_seen = np.array(places).T
        dots(axes, e_seen, alpha_seen, "compared with the runtime's exchange", **ON_A_MAP)
        axes.set(xlabel=r"learning rate times curvature, $\eta h$", ylabel=r"moving rate $\alpha$")
        axes.set(xlim=(0.0, 2.0), ylim=(-1.0, 1.0))
        legend(canvas, axes, columns=2)

    return Found(checks=checks, rows=rows, draw=draw, size=(6.6, 5.0))


def _drift(eta_h: float, alpha: float, beta: float) -> Array:
    return spectral_radius(theory.two_rate_map("jacobi", eta_h, alpha, beta))


def _one_worker(eta_h: float, alpha: float, beta: float) -> Check:
    algorithm = fleets.two_rate("jacobi", beta)
    measured = fleets.measured_map(algorithm, p=1, eta_h=eta_h, alpha=alpha)
    off = measured - theory.two_rate_map("jacobi", eta_h, alpha, beta)
    return nothing(f"simulated exchange, eta_h = {eta_h}, alpha = {alpha:.3g}", off)


def easgd_is_momentum(*, eta_h: float, delta: float, steps: int) -> Found:
    """E9: with beta = 1 and alpha = -delta_h EASGD's worker *is* MSGD, under the same noise."""
    dh = delta * (1.0 - eta_h)
    problem = fleets.quadratic(sigma=1.0, x0=2.0)
    msgd = fleets.fleet(problem, fleets.registered("msgd"), p=1, eta=eta_h, momentum=delta)
    easgd = fleets.fleet(problem, fleets.two_rate("jacobi", 1.0), p=1, eta=eta_h, alpha=-dh)
    path, y, c = [2.0], [2.0], [2.0, 2.0]
    for _ in range(steps):
        msgd.run(seconds=1)
        easgd.run(seconds=1)
        path.append(float(fleets.xs(msgd)[0][0]))
        y.append(float(fleets.xs(easgd)[0][0]))
        c.append(float(easgd.center[0]))
    found, t = np.array([path, y, c[: steps + 1]]), np.arange(steps + 1)
    lr, momentum = theory.easgd_as_momentum(eta_h, 1.0, -dh, 1.0)
    checks = [
        nothing("EASGD's worker minus MSGD", found[1] - found[0], 1e-12),
        nothing("center minus MSGD a step before", found[2, 1:] - found[0, :-1], 1e-12),
        number("heavy-ball learning rate", lr, eta_h, 1e-12),
        number("heavy-ball momentum", momentum, dh, 1e-12),
        _heavy_ball(),
    ]
    rows = [
        {"step": k, "msgd": found[0, k], "easgd_worker": found[1, k], "easgd_center": found[2, k]}
        for k in t
    ]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        line(axes, t, found[0], rf"MSGD, $\eta h$ = {eta_h}, $\delta$ = {delta}")
        dots(axes, t, found[1], r"EASGD's worker, $\beta = 1$, $\alpha = -\delta_h$")
        line(axes, t, found[2], "EASGD's center: a step later", linestyle=":", color="tab:orange")
        axes.set(xlabel="steps", ylabel="x")
        legend(canvas, axes, columns=2)

    return Found(checks=checks, rows=rows, draw=draw, size=(7.2, 4.2))


def _heavy_ball(eta: float = 0.3, alpha: float = 0.1, beta: float = 0.6) -> Check:
    """Other rates, without noise: the center of a fleet is a heavy ball."""
    run = fleets.fleet(
        fleets.quadratic(), fleets.two_rate("jacobi", beta), p=1, eta=eta, alpha=alpha
    )
    c = np.array([seen[0] for seen in fleets.centers(run, range(1, 30))])
    lr, momentum = theory.easgd_as_momentum(eta, 1.0, alpha, beta)
    off = c[2:] - (c[1:-1] - lr * c[1:-1] + momentum * (c[1:-1] - c[:-2]))
    return nothing("heavy-ball residual of a simulated center", off, 1e-12)
