"""Orders of the updates, long periods, trees: figures E16, E17, E19.

docs/mathematics.md, 2.9, 2.10 and 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ray_easgd import theory
from ray_easgd.figures import fleets
from ray_easgd.figures.drawing import dots, legend, line, powers_of_two
from ray_easgd.figures.outcome import Check, Found, nothing, number, quoted, true
from ray_easgd.simulator import Level
from ray_easgd.theory import spectral_radius
from ray_easgd.theory.arguments import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_LABELS = {
    "jacobi": "Jacobi (EASGD)",
    "gauss_seidel_center_first": "Gauss-Seidel",
    "full_gauss_seidel": "full Gauss-Seidel",
    "downpour": "DOWNPOUR (full, a = b = 1)",
}
_SEEN = (0.3, 0.8, 1.4)


def schemes(*, beta: float, p: int, points: int) -> Found:
    """E16: stability of Jacobi, Gauss-Seidel and DOWNPOUR against the learning rate."""
    e = np.linspace(0.0, 2.2, points + 1)[1:]
    radii = {name: spectral_radius(_scheme_map(name, e, beta, p)) for name in _LABELS}
    ps = np.array([1, 2, 4, 8, 16, 32, 64])
    edges = {name: _largest(name, beta, ps) for name in _LABELS}
    seen = {name: [_measured(name, x, beta, p) for x in _SEEN] for name in _LABELS}
    published = {
        "jacobi": (0.364, 1.182, 1.591),
        "gauss_seidel_center_first": (1.836, 1.918, 1.959),
    }
    checks = [
        *(number(f"{_LABELS[name]}, p = {ps[k]}", edges[name][k], limit, 1e-3)
          for name, limits in published.items() for k, limit in enumerate(limits)),
        nothing("DOWNPOUR: 2/p", edges["downpour"] - 2.0 / ps, 1e-6),
        *(nothing(f"simulated {_LABELS[name]}", np.array(seen[name])
                  - spectral_radius(_scheme_map(name, np.array(_SEEN), beta, p)), 1e-8)
          for name in _LABELS),
    ]  # fmt: skip
    rows = [
        {"eta_h": x} | {name: radius[k] for name, radius in radii.items()} for k, x in enumerate(e)
    ]

    def draw(canvas: Canvas) -> None:
        left, right = canvas.subplots(1, 2)
        for k, (name, label) in enumerate(_LABELS.items()):
            line(left, e, radii[name], label, color=f"C{k}")
            dots(left, _SEEN, seen[name], color=f"C{k}")
            line(right, ps, edges[name], color=f"C{k}", marker="o", markersize=3)
        dots(left, [], [], "simulated fleet")
        left.axhline(1.0, color="gray", linewidth=0.8)
        left.set(xlabel=r"learning rate times curvature, $\eta h$", ylim=(0.0, 2.0))
        left.set(ylabel=f"spectral radius, p = {p}")
        powers_of_two(right, ps.tolist())
        right.set(xlabel="workers p", ylabel=r"largest stable $\eta h$", ylim=(0.0, 2.4))
        legend(canvas, left, columns=3)

    return Found(checks=checks, rows=rows, draw=draw, size=(9.4, 4.4))


def _scheme_map(name: str, eta_h: Array, beta: float, p: Array | int) -> Array:
    if name == "downpour":
        return theory.two_rate_map("full_gauss_seidel", eta_h, 1.0, p)
    return theory.two_rate_map(name, eta_h, beta / p, beta)


def _largest(name: str, beta: float, ps: Array) -> Array:
    def radius(eta_h: Array) -> Array:
        return spectral_radius(_scheme_map(name, eta_h, beta, ps))

    return theory.stable_up_to(radius, np.full(len(ps), 3.0), points=300)


def _measured(name: str, eta_h: float, beta: float, p: int) -> float:
    """Of the mean of a simulated fleet: differences between its workers are left out."""
    if name == "downpour":
        downpour = fleets.downpour_in_lockstep()
        return abs(float(fleets.measured_map(
            downpour, p=p, eta_h=eta_h, state=lambda _: [], center="left").item()))  # fmt: skip
    algorithm = fleets.method("easgd")
    if name != "jacobi":
        algorithm = fleets.two_rate(name, beta / p)
    center = "left" if name == "full_gauss_seidel" else "found"
    measured = fleets.measured_map(algorithm, p=p, eta_h=eta_h, alpha=beta / p, center=center)
    return float(spectral_radius(_mean(measured, p)))


def _mean(measured: Array, p: int) -> Array:
    """A map of (x^1, .., x^p, c) on (y, c)."""
    spread = np.zeros((p + 1, 2))
    spread[:p, 0], spread[p, 1] = 1.0, 1.0
    mean: Array = (spread / spread.sum(axis=0)).T @ measured @ spread
    return mean


def periods(*, p: int, eta_h: float, beta: float, taus: Sequence[int]) -> Found:
    """E19: a longer period contracts EASGD more, and is DOWNPOUR's undoing."""
    alpha = beta / p
    every = np.arange(1, max(taus) + 1)
    easgd = spectral_radius(theory.easgd_period_map(eta_h, alpha, beta, every))
    downpour = np.abs(theory.downpour_factor(eta_h, every, p))
    seen = {tau: _over_period(p, eta_h, alpha, tau) for tau in taus}
    published = {1: 0.9604, 4: 0.8524, 16: 0.5462, 64: 0.1606}
    checks = [
        *(quoted(f"EASGD, tau = {tau}", easgd[tau - 1], r, 4) for tau, r in published.items()),
        quoted("DOWNPOUR, tau = 16", theory.downpour_factor(eta_h, 16, p), -1.239, 3),
        quoted("DOWNPOUR at .01, tau = 64", theory.downpour_factor(0.01, 64, p), -0.898, 3),
        nothing("simulated EASGD", [seen[tau][0] - easgd[tau - 1] for tau in taus], 1e-9),
        nothing("simulated DOWNPOUR", [seen[tau][1] - downpour[tau - 1] for tau in taus], 1e-9),
    ]
    rows = [{"tau": tau, "easgd": easgd[tau - 1], "downpour": downpour[tau - 1]} for tau in every]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        line(axes, every, easgd, rf"EASGD, $\beta$ = {beta}")
        line(axes, every, downpour, "DOWNPOUR")
        dots(axes, taus, [seen[tau][0] for tau in taus], "simulated fleet")
        dots(axes, taus, [seen[tau][1] for tau in taus])
        axes.axhline(1.0, color="gray", linewidth=0.8)
        powers_of_two(axes, taus)
        axes.set(xlabel=r"period $\tau$, steps", ylabel="factor of the center in a period")
        axes.set_title(rf"p = {p}, $\eta h$ = {eta_h}", fontsize=10)
        legend(canvas, axes)

    return Found(checks=checks, rows=rows, draw=draw)


def _over_period(p: int, eta_h: float, alpha: float, tau: int) -> tuple[float, float]:
    easgd = fleets.measured_map(fleets.method("easgd"), p=p, eta_h=eta_h, alpha=alpha, period=tau)
    downpour = fleets.measured_map(
        fleets.downpour_in_lockstep(), p=p, eta_h=eta_h, period=tau, state=lambda _: [],
        center="left",
    )  # fmt: skip
    return float(spectral_radius(_mean(easgd, p))), abs(downpour.item())


def tree(*, d: int, beta: float, eta_hs: Sequence[float]) -> Found:
    """E17: the spectrum of the thesis's tree, and where its moving rate turns unstable."""
    spectrum: Array = np.linalg.eigvalsh(theory.tree_laplacian(d)).astype(np.float64)
    alpha = np.linspace(0.0, 2.2 / (d + 1 + d**0.5), 221)[1:]
    radii = {e: spectral_radius(theory.tree_level_map(d, 2, e, alpha)) for e in eta_hs}
    limits = {e: float(theory.tree_alpha_max(d, 2, e)) for e in eta_hs}
    rate, published = beta / (d + 1), {0.01: 0.99063, 0.1: 0.907045, 0.5: 0.570543}
    root = theory.tree_root_variance(d, 2, 0.1, 1.0, rate, 1.0)
    checks = [
        number("largest eigenvalue of the Laplacian", spectrum[-1], d + 1 + d**0.5, 1e-9),
        *(quoted(f"spectral radius, eta_h = {e}",
                 spectral_radius(theory.tree_level_map(d, 2, e, rate)), r, 5 if e < 0.1 else 6)
          for e, r in published.items()),
        quoted("alpha_max at .5", theory.tree_alpha_max(d, 2, 0.5), 0.094, 3),
        quoted("variance at the root, 1e-4", root * 1e4, 1.8084, 4),
        true("below one exactly up to alpha_max",
             [(radii[e] < 1.0) == (alpha < limits[e]) for e in eta_hs]),
        *(_tree_follows(d, e, rate) for e in eta_hs[1:]),
    ]  # fmt: skip
    rows = [
        {"alpha": a} | {f"eta_h_{e:g}": radii[e][k] for e in eta_hs} for k, a in enumerate(alpha)
    ]

    def draw(canvas: Canvas) -> None:
        left, right = canvas.subplots(1, 2)
        _draw_spectrum(left, spectrum, d)
        for k, e in enumerate(eta_hs):
            line(right, alpha, radii[e], rf"$\eta h$ = {e:g}", color=f"C{k}")
            right.axvline(limits[e], color=f"C{k}", linewidth=0.8, linestyle=":")
        right.axvline(rate, color="gray", linewidth=0.8, label=rf"$\alpha = {beta}/(d + 1)$")
        right.axhline(1.0, color="gray", linewidth=0.8)
        right.set(xlabel=r"moving rate $\alpha$", ylabel="spectral radius of the tree")
        right.set(ylim=(0.3, 1.4))
        legend(canvas, right)

    return Found(checks=checks, rows=rows, draw=draw, size=(9.4, 4.2))


def _draw_spectrum(axes: Axes, spectrum: Array, d: int) -> None:
    values, counts = np.unique(np.round(spectrum, 6), return_counts=True)
    axes.stem(values, counts, basefmt=" ")
    axes.set(yscale="log", ylabel="multiplicity", xlabel="eigenvalue of the tree's Laplacian")
    axes.set_title(f"d = {d}: {len(spectrum)} nodes, {d * d} leaves", fontsize=10)


def _tree_follows(d: int, eta_h: float, alpha: float, rounds: int = 8) -> Check:
    """That the root of a simulated tree in lockstep goes where the map of the levels says."""
    levels = (
        Level(fan_out=d, period=d, moving_rate=alpha),
        Level(fan_out=d, period=1, moving_rate=alpha),
    )
    run = fleets.fleet(
        fleets.quadratic(), fleets.method("easgd"), p=d * d, eta=eta_h, levels=levels
    )
    seen = []
    run.run(
        seconds=0.5
    )  # two of the map's rounds move no root: its first news comes from the leaves
    for _ in range(rounds):
        run.run(seconds=1)
        seen.append(float(run.center[0]))
    step = theory.tree_level_map(d, 2, eta_h, alpha)
    exact = [(np.linalg.matrix_power(step, k) @ np.ones(3))[2] for k in range(3, rounds + 3)]
    return nothing(f"simulated tree, eta_h = {eta_h}", np.array(seen) - exact, 1e-9)
