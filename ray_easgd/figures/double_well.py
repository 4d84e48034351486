"""Two wells: figures E14, E15 (docs/mathematics.md, 3.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ray_easgd import theory
from ray_easgd.figures import fleets
from ray_easgd.figures.drawing import dots, legend, line
from ray_easgd.figures.outcome import Found, nothing, number, quoted, true
from ray_easgd.theory.arguments import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_SIMULATED = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8)


def hessian(*, points: int, eta: float) -> Found:
    """E14: the smallest eigenvalue of the Hessian at the split, against rho."""
    rho = (np.arange(points) + 0.5) / points
    least = theory.double_well_lambda_min(rho)
    spectrum = np.linalg.eigvalsh(theory.double_well_hessian(rho))
    published = {0.1: 0.1876, 0.5: 0.2929, 0.6: 0.1282, 0.7: -0.0677}
    seen = [_decay(r, eta) for r in _SIMULATED]
    checks = [
        nothing("closed form minus the matrix", least - spectrum[:, 0], 1e-12),
        *(quoted(f"rho = {r}", theory.double_well_lambda_min(r), v, 4)
          for r, v in published.items()),
        number("zero at 2/3", theory.double_well_lambda_min(2.0 / 3.0), 0.0, 1e-12),
        number("largest at 1/3", rho[least.argmax()], 1.0 / 3.0, 1.0 / points),
        *(number(f"simulated decay, rho = {r}", v, theory.double_well_lambda_min(r), 2e-4)
          for r, v in zip(_SIMULATED, seen, strict=True)),
    ]  # fmt: skip
    rows = [
        {"rho": r, "lambda_min": least[k]} | {f"lambda_{j}": spectrum[k, j] for j in range(3)}
        for k, r in enumerate(rho)
    ]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        line(axes, rho, least, r"$1 - \sqrt{1 - 4\rho + 6\rho^2}$")
        dots(axes, _SIMULATED, seen, "simulated fleet: decay of the center")
        axes.axhline(0.0, color="gray", linewidth=0.8)
        axes.axvline(2.0 / 3.0, color="tab:red", linestyle="--", linewidth=1.0,
                     label=r"$\rho = 2/3$: trapped to the left")  # fmt: skip
        axes.set(xlabel=r"penalty $\rho$", ylabel="smallest eigenvalue at the split")
        axes.set_xlim(0.0, 1.0)
        legend(canvas, axes, columns=2)

    return Found(checks=checks, rows=rows, draw=draw, size=(6.4, 4.4))


def _decay(rho: float, eta: float, rounds: int = 200) -> float:
    """``(1 - c' / c) / eta`` of a fleet at the split, once the center's other mode is gone.

    The first step is not pulled yet; it starts where it ends at ``s``.
    """
    run = fleets.split_fleet(fleets.Wells(x0=1e-6), rho=rho, eta=eta)
    s = x = (1.0 - rho) ** 0.5
    for _ in range(50):
        x = s + eta * (x**3 - x)
    for worker, side in zip(run.workers, (1.0, -1.0), strict=True):
        worker.x.fill_(side * x)
    before, after = (float(c[0]) for c in fleets.centers(run, [rounds, rounds + 1]))
    return (1.0 - after / before) / eta


def trapping(
    *,
    eta: float,
    rhos: Sequence[float],
    center: float,
    rounds: int,
    sigma: float,
    noisy: Sequence[float],
) -> Found:
    """E15: workers in two wells hold the center between them, or fall into one together."""
    paths = {rho: _path(rho, eta, center, rounds) for rho in rhos}
    trapped = {rho: bool(abs(path[-1]) < center) for rho, path in paths.items()}
    shares = {rho: _share(rho, eta, sigma) for rho in noisy}
    published = {0.1: 1.0, 0.3: 1.0, 0.5: 0.98, 0.6: 0.0, 0.8: 0.0}
    checks = [
        *(true(f"rho = {r} {'traps' if r < 2 / 3 else 'lets go'}", trapped[r] == (r < 2 / 3))
          for r in rhos),
        *(number(f"share trapped under noise, rho = {rho}", shares[rho], published[rho], 0.05)
          for rho in noisy),
    ]  # fmt: skip
    rows = [
        {"rho": rho, "round": k * _EVERY, "center": c}
        for rho, path in paths.items()
        for k, c in enumerate(path)
    ]

    def draw(canvas: Canvas) -> None:
        axes = canvas.subplots()
        for k, (rho, path) in enumerate(paths.items()):
            label = rf"$\rho$ = {rho:g}, {'trapped' if trapped[rho] else 'free'}"
            at = np.arange(len(path)) * _EVERY
            line(
                axes,
                at,
                np.abs(path),
                label,
                color=f"C{k}",
                linestyle="-" if trapped[rho] else "--",
            )
        axes.set(
            xscale="log", yscale="log", xlabel="rounds", ylabel="distance of the center from 0"
        )
        axes.set(xlim=(_EVERY, None), ylim=(4e-4, 1.0))
        legend(canvas, axes, columns=3)

    values = {f"trapped_share_{rho:g}": share for rho, share in shares.items()}
    return Found(checks=checks, rows=rows, draw=draw, values=values, size=(6.8, 4.6))


_EVERY = 20
_DECIDED = 5e-4, 0.3


def _path(rho: float, eta: float, center: float, rounds: int) -> Array:
    """The center every 20 rounds, until it is decided or time is up."""
    run = fleets.split_fleet(fleets.Wells(x0=center), rho=rho, eta=eta)
    path = [center]
    while len(path) * _EVERY <= rounds and _DECIDED[0] < abs(path[-1]) < _DECIDED[1]:
        run.run(seconds=_EVERY)
        path.append(float(run.center[0]))
    return np.array(path)


def _share(rho: float, eta: float, sigma: float, rounds: int = 2000) -> float:
    """Of 400 noisy runs, those with a worker in each well at the end."""
    run = fleets.split_fleet(fleets.Wells(sigma=sigma, size=400), rho=rho, eta=eta)
    run.run(seconds=rounds)
    left, right = fleets.xs(run)
    return float((left.sign() != right.sign()).double().mean())
