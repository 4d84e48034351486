"""Synchronous EASGD: figures E1, E2, E6 (docs/mathematics.md, 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ray_easgd import theory
from ray_easgd.figures import fleets
from ray_easgd.figures.drawing import dots, legend, line
from ray_easgd.figures.outcome import Check, Found, mean_of, number, quoted, true
from ray_easgd.theory.arguments import Array
from ray_easgd.theory.spectra import matrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_SPOTS = ((0.5, 0.9, 2), (0.5, 0.9, 10), (1.0, 0.5, 10), (0.1, 1.5, 10))


def mean_squared_error(
    *, sigma: float, h: float, ps: Sequence[int], ts: Sequence[float], points: int
) -> Found:
    """E1: the error of the center over eta and beta, by rounds and workers (paper, figure 5)."""
    rates = (np.arange(points) + 0.5) * 2.0 / points
    beta, eta = np.meshgrid(rates, rates, indexing="ij")
    t, p = np.array(ts)[:, None, None, None], np.array(ps)[:, None, None]
    mse = _mse(t, eta, h, beta, p, sigma)
    stable = theory.easgd_stable_sync(eta, h, beta, p)
    many = len(ps) - 1, points // 4, points // 4
    limit = theory.easgd_limit_p(rates[many[1]], h, rates[many[1]], sigma**2)
    checks = [
        *(_simulated_error(sigma, h, *spot) for spot in _SPOTS),
        true("finite for ever exactly where the four inequalities hold",
             np.isfinite(mse[-1]) == stable),
        number("p times the error, as p grows", ps[-1] * mse[-1][many] / limit, 1.0, 2e-3),
    ]  # fmt: skip
    rows = [
        {"t": ts[a], "p": ps[b], "beta": beta[c, d], "eta": eta[c, d], "mse": mse[a, b, c, d]}
        for a, b, c, d in np.ndindex(mse.shape)
    ]

    def draw(canvas: Canvas) -> None:
        _draw_errors(canvas, rates, mse, ps, ts)

    return Found(checks=checks, rows=rows, draw=draw, size=(2.3 * len(ts) + 1.4, 2.1 * len(ps)))


def _mse(t: Array, eta: Array, h: float, beta: Array, p: Array, sigma: float) -> Array:
    mean = theory.easgd_center_mean(t, eta, h, beta / p, p)
    return mean**2 + theory.easgd_center_var(t, eta, h, beta / p, p, sigma**2)


def _simulated_error(sigma: float, h: float, eta: float, beta: float, t: int) -> Check:
    p, size = 10, 20000
    problem = fleets.quadratic(h=h, sigma=sigma, size=size)
    run = fleets.fleet(problem, fleets.method("easgd"), p=p, eta=eta, alpha=beta / p)
    expected = _mse(np.array(t), np.array(eta), h, np.array(beta), np.array(p), sigma)
    name = f"simulated, p = {p}, eta = {eta}, beta = {beta}, t = {t}"
    return mean_of(name, fleets.centers(run, [t])[0] ** 2, expected)


def _draw_errors(
    canvas: Canvas, rates: Array, mse: Array, ps: Sequence[int], ts: Sequence[float]
) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    panels = canvas.subplots(len(ps), len(ts), sharex=True, sharey=True)
    colors = ScalarMappable(LogNorm(1e-3, 1e3))
    for b, p in enumerate(ps):
        for a, t in enumerate(ts):
            axes = panels[b, a]
            error = np.where(np.isfinite(mse[a, b]), mse[a, b], 1e9)
            axes.pcolormesh(rates, rates, error.T, norm=colors.norm, rasterized=True)
            axes.set(xticks=[0.5, 1.0, 1.5], yticks=[0.5, 1.0, 1.5])
            if b == 0:
                axes.set_title(r"t = $\infty$" if np.isinf(t) else f"t = {t:g} rounds", fontsize=10)
            if a == 0:
                axes.set_ylabel(f"p = {p:,}\nlearning rate $\\eta$")
            if b == len(ps) - 1:
                axes.set_xlabel(r"center rate $\beta = p\alpha$")
    canvas.colorbar(colors, ax=panels, label="mean squared error of the center", extend="both")


def mean_and_variance(
    *, eta: float, alpha: float, p: int, h: float, sigma: float, rounds: int
) -> Found:
    """E2: lemma 7.1 over time, and a simulated fleet."""
    t, size = np.arange(rounds + 1), 20000
    mean = theory.easgd_center_mean(t, eta, h, alpha, p)
    var = theory.easgd_center_var(t, eta, h, alpha, p, sigma**2)
    problem = fleets.quadratic(h=h, sigma=sigma, size=size)
    run = fleets.fleet(problem, fleets.method("easgd"), p=p, eta=eta, alpha=alpha)
    seen = fleets.centers(run, t.tolist())
    gamma, phi = theory.easgd_roots(eta, h, alpha, p)
    checks = [
        quoted("gamma", gamma, 0.6531128874, 10),
        quoted("phi", phi, -0.1531128874, 10),
        *(mean_of(f"simulated mean, t = {k}", seen[k], mean[k]) for k in t[2:]),
        *(mean_of(f"simulated variance, t = {k}", (seen[k] - mean[k]) ** 2, var[k])
          for k in t[2:]),
    ]  # fmt: skip
    rows = [
        {"t": k, "mean": mean[k], "variance": var[k],
         "simulated_mean": seen[k].mean(), "simulated_variance": seen[k].var()}
        for k in t
    ]  # fmt: skip

    def draw(canvas: Canvas) -> None:
        left, right = canvas.subplots(1, 2)
        line(left, t, mean, "lemma 7.1")
        dots(left, t, [c.mean() for c in seen], f"simulated fleet, {size:,} repetitions")
        line(right, t, var, "lemma 7.1")
        dots(right, t, [c.var() for c in seen])
        left.set(xlabel="time t, rounds", ylabel="mean of the center")
        right.set(xlabel="time t, rounds", ylabel="variance of the center")
        legend(canvas, left)

    return Found(checks=checks, rows=rows, draw=draw, size=(8.6, 3.8))


def double_averaging(
    *, p: int, h: float, eta: float, alpha: float, sigma: float, simulated: Sequence[int]
) -> Found:
    """E6: t times the variance of the average of all centers so far."""
    ts = np.unique(np.geomspace(1, 10000, 61).astype(int))
    exact = _average_variances(ts, eta, h, alpha, p, sigma)
    bound = theory.double_average_var(sigma**2, p, h)
    problem = fleets.quadratic(h=h, sigma=sigma, x0=0.0, size=4000)
    run = fleets.fleet(problem, fleets.method("easgd"), p=p, eta=eta, alpha=alpha, average="polyak")
    seen, passed = {}, 1
    for t in simulated:
        run.run(seconds=t - passed)
        passed = t
        total = (t - 1) * run.hub.state["z"].double().numpy()  # of t centers, the first being 0
        seen[t] = total**2 / t
    then = dict(zip(ts.tolist(), exact, strict=True))
    at = _average_variances(np.array(simulated), eta, h, alpha, p, sigma)
    checks = [
        quoted("t = 1e4", then[10000], 0.0624696, 7),
        quoted("t = 1e3", then[1000], 0.062196, 6),
        quoted("t = 1e2", then[100], 0.05946, 5),
        number("the bound sigma^2 / (p h^2)", bound, 0.0625, 1e-12),
        *(mean_of(f"simulated, t = {t}", seen[t], at[k]) for k, t in enumerate(simulated)),
    ]
    rows = [{"t": t, "t_variance": v, "bound": bound} for t, v in zip(ts, exact, strict=True)]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        line(axes, ts, exact, "t Var z, exact recursion")
        line(axes, ts[[0, -1]], [bound, bound], r"Fisher bound $\sigma^2/(ph^2)$", linestyle="--")
        dots(axes, simulated, [seen[t].mean() for t in simulated], "simulated fleet")
        axes.set(xscale="log", xlabel="time t, rounds", ylabel="t times the variance of z")
        axes.set_ylim(bottom=0.0)
        legend(canvas, axes)

    return Found(checks=checks, rows=rows, draw=draw)


def _average_variances(
    ts: Array, eta: float, h: float, alpha: float, p: int, sigma: float
) -> Array:
    """``t Var z_t``, from the second moments of (y, c, the sum of centers)."""
    step = matrix((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 1.0, 1.0))
    step[:2, :2] = theory.two_rate_map("jacobi", eta * h, alpha, p * alpha)
    s, found, noise = np.zeros((3, 3)), [], np.zeros((3, 3))
    noise[0, 0] = (eta * sigma) ** 2 / p
    for t in range(1, int(ts[-1]) + 1):
        s = step @ s @ step.T + noise
        if t in ts:
            found.append(s[2, 2] / t)
    return np.array(found)
