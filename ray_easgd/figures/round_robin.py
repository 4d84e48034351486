"""One worker after the other: figures E3, E4, E5, E18 (docs/mathematics.md, 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ray_easgd import theory
from ray_easgd.figures import fleets
from ray_easgd.figures.drawing import dots, legend, line, powers_of_two
from ray_easgd.figures.outcome import Check, Found, nothing, number, quoted, true
from ray_easgd.theory import spectral_radius
from ray_easgd.theory.arguments import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_PUBLISHED = {2: 0.999001872, 3: 1.000973885, 8: 1.002257866}


def admm_map(*, ps: Sequence[int], eta_max: float, rho_max: float, points: int) -> Found:
    """E3: the spectral radius of an ADMM round (paper, figure 1), and EASGD's beside it."""
    eta, rho = (np.arange(1, points + 1) * top / points for top in (eta_max, rho_max))
    grid = np.meshgrid(eta, rho)
    radii = {f"ADMM, p = {p}": spectral_radius(theory.admm_rr_map(p, *grid)) for p in ps}
    both = {p: spectral_radius(theory.easgd_rr_map(p, grid[0], grid[0] * grid[1])) for p in ps}
    radii[f"EASGD, p = {ps[-1]}"] = both[ps[-1]]
    checks = [
        *(quoted(f"ADMM, p = {p}, eta = .001, rho = 2.5",
                 spectral_radius(theory.admm_rr_map(p, 0.001, 2.5)), radius, 9)
          for p, radius in _PUBLISHED.items()),
        true("EASGD is below 1 on the whole map", [r.max() < 1.0 for r in both.values()]),
        true("ADMM is above 1 somewhere", [radii[f"ADMM, p = {p}"].max() > 1.0 for p in ps]),
        *(_follows(p, *point) for p in ps for point in ((0.001, 2.5), (0.01, 8.0))),
    ]  # fmt: skip
    rows = [
        {"map": name, "eta": e, "rho": r, "spectral_radius": radius[k, j]}
        for name, radius in radii.items()
        for k, r in enumerate(rho)
        for j, e in enumerate(eta)
    ]

    def draw(canvas: Canvas) -> None:
        _draw_excess(canvas, eta, rho, radii)

    return Found(checks=checks, rows=rows, draw=draw, size=(4.0 * len(radii), 3.6))


def _draw_excess(canvas: Canvas, eta: Array, rho: Array, radii: dict[str, Array]) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import SymLogNorm

    panels = canvas.subplots(1, len(radii), sharey=True)
    colors = ScalarMappable(SymLogNorm(1e-4, vmin=-1e-2, vmax=1e-2), "RdBu_r")
    for axes, (name, radius) in zip(panels, radii.items(), strict=True):
        axes.pcolormesh(eta, rho, radius - 1.0, norm=colors.norm, cmap=colors.cmap, rasterized=True)
        if radius.max() > 1.0:
            axes.contour(eta, rho, radius, levels=[1.0], colors="black", linewidths=1.2)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(r"learning rate $\eta$")
    panels[0].set_ylabel(r"penalty $\rho$")
    canvas.colorbar(colors, ax=panels, label="spectral radius of a round, minus 1", extend="both")


def _admm_fleet(p: int, eta: float, rho: float, x0: float) -> Any:
    """ADMM in our letters: ``lr = eta / (1 + eta rho)``, ``alpha = eta rho / (1 + eta rho)``."""
    pull = eta * rho
    problem = fleets.quadratic(x0=x0)
    algorithm = fleets.registered("admm")
    return fleets.fleet(problem, algorithm, p=p, eta=eta / (1 + pull), alpha=pull / (1 + pull))


def _rounds(p: int, eta: float, rho: float, x0: float, rounds: Sequence[int]) -> Array:
    """The center after so many rounds from ``m = 0``, ``x = c = x0``, by the map."""
    state, turned, seen, passed = np.array([0.0, x0] * p + [x0]), {}, [], 0
    step = theory.admm_rr_map(p, eta, rho)
    for k in rounds:
        gap = k - passed
        if gap not in turned:
            turned[gap] = np.linalg.matrix_power(step, gap)
        state, passed = turned[gap] @ state, k
        seen.append(state[-1])
    return np.array(seen)


def _follows(p: int, eta: float, rho: float, rounds: int = 20) -> Check:
    """That a simulated fleet makes the very round whose spectrum is drawn."""
    ks = range(1, rounds + 1)
    seen = fleets.pushed(_admm_fleet(p, eta, rho, 1.0), [k * p for k in ks])
    expected = _rounds(p, eta, rho, 1.0, ks)
    return nothing(f"simulated ADMM, p = {p}, eta = {eta}, rho = {rho}", seen - expected, 1e-11)


def admm_divergence(
    *, p: int, eta: float, rho: float, x0: float, turns: int, simulated: int
) -> Found:
    """E4: ADMM's center first decays, and then grows in oscillation."""
    ks = np.arange(0, turns // p + 1, 20)
    center = _rounds(p, eta, rho, x0, ks.tolist())
    looks = np.arange(0, simulated // p + 1, 50)
    seen = fleets.pushed(_admm_fleet(p, eta, rho, x0), (looks * p).tolist())
    expected = _rounds(p, eta, rho, x0, looks.tolist())
    at = {t: _rounds(p, eta, rho, x0, [t // p])[0] for t in (3000, 30000, 60000)}
    radius = spectral_radius(theory.admm_rr_map(p, eta, rho))
    checks = [
        nothing("simulated fleet, relative to its start", (seen - expected) / x0, 1e-9),
        quoted("turn 3e3", at[3000], 368.4, 1),
        number("turn 3e4", at[30000], 425.0, 0.51),
        number("turn 6e4", at[60000], -5.29e6, 0.006e6),
        quoted("growth a turn", np.log(radius) / p * 1e4, 3.24, 2),
    ]
    rows = [{"turn": k * p, "center": c} for k, c in zip(ks, center, strict=True)]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        line(axes, ks * p, center, rf"ADMM, p = {p}, $\eta$ = {eta}, $\rho$ = {rho}")
        dots(axes, looks[::2] * p, seen[::2], "simulated fleet")
        axes.set_yscale("symlog", linthresh=10.0)
        axes.set(xlabel="turns", ylabel="center (start 1000)")
        legend(canvas, axes)

    return Found(checks=checks, rows=rows, draw=draw)


def easgd_region(*, ps: Sequence[int], points: int) -> Found:
    """E5: where a round of EASGD is stable, and the bound that is enough for every p."""
    eta = np.linspace(0.0, 2.0, points + 2)[1:-1]
    bound = theory.easgd_rr_alpha_max(eta, 1.0)
    edges = {p: _edge(p, eta) for p in ps}
    at_one = float(_edge(2, np.array([1.0]))[0])
    checks = [
        nothing("p = 1: the bound is exact", edges[1] - bound, 1e-6),
        true("enough for every p", [(edges[p] > bound - 1e-6).all() for p in ps]),
        quoted("p = 2, eta = 1", at_one, 0.7071, 4),
        quoted("the bound at eta = 1", theory.easgd_rr_alpha_max(1.0, 1.0), 0.6667, 4),
        *(_in_turn(p, *point) for p in ps[:3] for point in ((1.1, 0.5), (0.3, 0.8))),
    ]
    rows = [
        {"eta": e, "bound": bound[k]} | {f"edge_p{p}": edges[p][k] for p in ps}
        for k, e in enumerate(eta)
    ]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.fill_between(eta, bound, alpha=0.2, label="stable for every p")
        line(
            axes,
            eta,
            bound,
            r"$(4 - 2\eta h)/(4 - \eta h)$, sufficient",
            color="black",
            linestyle="--",
        )
        for p in ps:
            line(axes, eta, edges[p], f"edge of stability, p = {p}", alpha=0.8)
        axes.set(xlabel=r"learning rate times curvature, $\eta h$", ylabel=r"moving rate $\alpha$")
        axes.set(xlim=(0.0, 2.0), ylim=(0.0, 1.05))
        legend(canvas, axes, columns=2)

    return Found(checks=checks, rows=rows, draw=draw, size=(6.4, 4.6))


def _edge(p: int, eta: Array) -> Array:
    def radius(alpha: Array) -> Array:
        return spectral_radius(theory.easgd_rr_map(p, eta, alpha)) - 1e-12

    return theory.stable_up_to(radius, np.full_like(eta, 1.2), points=120)


def _in_turn(p: int, eta_h: float, alpha: float) -> Check:
    measured = fleets.measured_map(fleets.method("easgd", "in_turn"), p=p, eta_h=eta_h, alpha=alpha)
    off = measured - theory.easgd_rr_map(p, eta_h, alpha)
    return nothing(f"simulated round, p = {p}, eta = {eta_h}, alpha = {alpha}", off)


def downpour_limit(*, ps: Sequence[int]) -> Found:
    """E18: the learning rate that round-robin DOWNPOUR bears, against EASGD's."""
    limit = theory.downpour_rr_eta_max(ps)
    below, above = (
        [_downpour_radius(p, f * float(e)) for p, e in zip(ps, limit, strict=True)]
        for f in (0.98, 1.02)
    )
    published = {1: 2.0, 2: 1.0, 3: 0.618, 4: 0.445, 8: 0.2091, 16: 0.1013}
    checks = [
        true("simulated: stable 2 % below", np.array(below) < 1.0),
        true("simulated: unstable 2 % above", np.array(above) > 1.0),
        *(number(f"p = {p}", theory.downpour_rr_eta_max(p), e, 5e-4) for p, e in published.items()),
    ]
    rows = [
        {"p": p, "eta_max": limit[k], "radius_2%_below": below[k], "radius_2%_above": above[k]}
        for k, p in enumerate(ps)
    ]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        line(axes, ps, limit, r"DOWNPOUR: $2\,\sin(\pi/(4p - 2))$", marker="o", markersize=3)
        line(axes, ps, np.full(len(ps), 2.0), "EASGD: 2", marker="o", markersize=3)
        style = {"color": "tab:blue", "markersize": 5}
        dots(axes, ps, 0.98 * limit, "simulated, stable", **style | {"marker": "v"})
        dots(axes, ps, 1.02 * limit, "simulated, unstable", **style | {"marker": "^"})
        powers_of_two(axes, [1, 2, 4, 8, 16])
        axes.set(yscale="log", xlabel="workers p", ylabel=r"largest stable $\eta h$")
        legend(canvas, axes, columns=2)

    return Found(checks=checks, rows=rows, draw=draw)


def _downpour_radius(p: int, eta_h: float) -> float:
    measured = fleets.measured_map(
        fleets.method("downpour", "in_turn"), p=p, eta_h=eta_h, center="none"
    )
    return float(spectral_radius(measured))
