"""How far workers help: figures E20, E21 (docs/mathematics.md, 3.4 and 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ray_easgd import theory
from ray_easgd.figures import fleets
from ray_easgd.figures.drawing import legend, line, powers_of_two
from ray_easgd.figures.multiplicative import easgd_moments, msgd_moments
from ray_easgd.figures.outcome import Check, Found, mean_of, nothing, number, quoted, true
from ray_easgd.theory import spectral_radius
from ray_easgd.theory.arguments import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def stable_range(*, lams: Sequence[float], beta: float, delta: float, p_max: int) -> Found:
    """E20: the largest stable learning rate against p, by spread of the noise."""
    ps = np.unique(np.geomspace(1, p_max, 25).astype(int))
    edges = {lam: _edges(lam, beta, delta, ps) for lam in lams}
    at = {name: float(_edges(0.5, beta, d, np.array([p]))[name][0])
          for name, d, p in (("SGD", 0.9, 4), ("MSGD", 0.9, 1), ("EASGD", 0.9, 4))}  # fmt: skip
    checks = [
        number("SGD, lambda = .5, p = 4", at["SGD"], 4.0 / 3.0, 1e-6),
        number("MSGD, delta = .9, p = 1", at["MSGD"], 0.184, 1e-3),
        number("EASGD, p = 4", at["EASGD"], 0.699, 2.5e-3),
        true("momentum narrows it", [e["MSGD"] < e["SGD"] for e in edges.values()]),
        true("for many workers mini-batches bear what EASGD does not",
             [e["EASGD"][-1] < e["SGD"][-1] for e in edges.values()]),
        msgd_moments(0.19, 0.9, 0.5, steps=4),
        easgd_moments(0.72, 0.9 / 4, 0.5, 4, rounds=4),
        easgd_moments(0.68, 0.9 / 4, 0.5, 4, rounds=4),
    ]  # fmt: skip
    rows = [
        {"lambda": lam, "p": int(p)} | {name: e[k] for name, e in edges[lam].items()}
        for lam in lams
        for k, p in enumerate(ps)
    ]

    def draw(canvas: Canvas) -> None:
        panels = canvas.subplots(1, len(lams), sharey=True)
        names = {
            "SGD": "mini-batch SGD",
            "MSGD": rf"mini-batch MSGD, $\delta$ = {delta}",
            "EASGD": rf"EASGD, $\beta$ = {beta}, $\alpha = \beta/p$",
        }
        for axes, lam in zip(panels, lams, strict=True):
            for name, label in names.items():
                line(axes, ps, edges[lam][name], label)
            powers_of_two(axes, [1, 8, 64, 1024])
            axes.set_title(rf"$\lambda = \omega$ = {lam:g}", fontsize=10)
            axes.set(xlabel="workers, or mini-batch, p", ylim=(0.0, 2.1))
        panels[0].set_ylabel(r"largest stable $\eta$ (times the mean curvature)")
        legend(canvas, panels[0])

    return Found(checks=checks, rows=rows, draw=draw, size=(3.0 * len(lams) + 0.6, 3.9))


def _edges(lam: float, beta: float, delta: float, ps: Array) -> dict[str, Array]:
    def momentum(eta: Array) -> Array:
        return spectral_radius(theory.msgd_mult(eta, delta, lam, lam, ps))

    def elastic(eta: Array) -> Array:
        return spectral_radius(theory.easgd_mult(eta, beta / ps, beta, lam, lam, ps))

    high = np.full(len(ps), 2.5)
    return {
        "SGD": 2.0 * lam / (lam + 1.0 / ps),
        "MSGD": theory.stable_up_to(momentum, high),
        "EASGD": theory.stable_up_to(elastic, high),
    }


def speed_up(*, lams: Sequence[float], beta: float, rate: float, p_max: int) -> Found:
    """E21: how many times faster, or more precise, p workers are than one with SGD.

    Initial phase: the logarithm of the best rate of ``E x^2`` over that of SGD with one worker.
    Asymptotic phase: the stationary variance of one worker's SGD over that of the method, each at
    the learning rate where its mean contracts by ``rate`` a step.
    """
    ps: Array = np.exp2(np.arange(int(np.log2(p_max)) + 1, dtype=np.float64))
    initial = {lam: _initial(lam, beta, ps) for lam in lams}
    asymptotic = _asymptotic(beta, rate, ps)
    sgd, msgd = asymptotic["SGD"], asymptotic["MSGD"]
    s = 1.0 - rate
    checks = [
        quoted("initial, SGD, lambda = .5, p = 16", initial[0.5]["SGD"][4], 5.42, 2),
        quoted("initial, SGD, lambda = 1, p = 16", initial[1.0]["SGD"][4], 4.09, 2),
        true("initial: EASGD falls back to 1", [i["EASGD"][-1] < 1.1 for i in initial.values()]),
        nothing("asymptotic, SGD: p", sgd / ps - 1.0, 1e-9),
        nothing("asymptotic, MSGD over SGD", msgd / sgd * (2 - 2 * s + s * s) / (2 - s) ** 2 - 1,
                1e-9),
        true("asymptotic: EASGD grows without end", np.diff(asymptotic["EASGD"]) > 0),
        _same_pace(beta, rate, 16),
        *(_simulated_variance(kind, beta, rate, 16) for kind in ("SGD", "MSGD", "EASGD")),
    ]  # fmt: skip
    rows = [
        {"phase": "initial", "lambda": lam, "method": name, "p": int(p), "speed_up": values[k]}
        for lam, found in initial.items()
        for name, values in found.items()
        for k, p in enumerate(ps)
    ] + [
        {"phase": "asymptotic", "lambda": None, "method": name, "p": int(p), "speed_up": values[k]}
        for name, values in asymptotic.items()
        for k, p in enumerate(ps)
    ]

    def draw(canvas: Canvas) -> None:
        left, right = canvas.subplots(1, 2)
        styles = {"SGD": "-", "EASGD": "--"}
        for k, (lam, found) in enumerate(initial.items()):
            for name, style in styles.items():
                label = {"SGD": "mini-batch SGD = MSGD", "EASGD": "EASGD"}[name]
                line(left, ps, found[name], rf"{label}, $\lambda$ = {lam:g}", color=f"C{k}",
                     linestyle=style)  # fmt: skip
        left.set_title("initial phase, multiplicative noise", fontsize=10)
        left.set(ylabel="speed-up of the best rate over one SGD worker")
        for name, values in asymptotic.items():
            line(right, ps, values, name, marker="o", markersize=3)
        line(right, ps, ps, "p", color="gray", linestyle=":")
        right.set_title("asymptotic phase, additive noise, at equal pace", fontsize=10)
        right.set(ylabel="variance of one SGD worker over variance")
        for axes in (left, right):
            powers_of_two(axes, [1, 4, 16, 64, 256, 1024])
            axes.set(yscale="log", xlabel="workers, or mini-batch, p")
            axes.legend(fontsize=7)

    return Found(checks=checks, rows=rows, draw=draw, size=(10.0, 4.6))


def _initial(lam: float, beta: float, ps: Array) -> dict[str, Array]:
    alone = np.log1p(lam)
    best = theory.easgd_mult_best_eta(lam, lam, beta, ps)[1]
    return {"SGD": np.log1p(ps * lam) / alone, "EASGD": -np.log(best) / alone}


def _asymptotic(beta: float, rate: float, ps: Array) -> dict[str, Array]:
    one = theory.sgd_stationary(1.0 - rate, 1.0, 1.0)
    return {name: one / _variance(name, beta, rate, ps) for name in ("SGD", "MSGD", "EASGD")}


def _variance(name: str, beta: float, rate: float, ps: Array) -> Array:
    eta, momentum = _at_pace(name, beta, rate, ps)
    if name == "SGD":
        return theory.sgd_stationary(eta, 1.0, 1.0 / ps)
    if name == "MSGD":
        return theory.msgd_stationary(eta, 1.0, momentum, 1.0 / ps)[0]
    return theory.easgd_stationary(eta, 1.0, beta / ps, beta, 1.0, ps)[2]


def _at_pace(name: str, beta: float, rate: float, ps: Array) -> tuple[Array, Array]:
    """The learning rate at which the mean contracts by ``rate``, and the momentum.

    MSGD at its best momentum: ``1 - sqrt(eta)``. EASGD from ``det(rate - M) = 0``, in eta linear.
    """
    if name == "SGD":
        return np.full(len(ps), 1.0 - rate), np.zeros(len(ps))
    if name == "MSGD":
        eta = np.full(len(ps), (1.0 - rate) ** 2)
        return eta, theory.msgd_opt_delta(eta)
    alpha = beta / ps
    return 1.0 - alpha - rate - alpha * beta / (1.0 - beta - rate), np.zeros(len(ps))


def _same_pace(beta: float, rate: float, p: int) -> Check:
    eta = _at_pace("EASGD", beta, rate, np.array([p]))[0][0]
    return number("EASGD's pace", theory.easgd_roots(eta, 1.0, beta / p, p)[0], rate, 1e-12)


def _simulated_variance(name: str, beta: float, rate: float, p: int, steps: int = 150) -> Check:
    """From rest at the minimum; mini-batches of p as noise of variance 1/p."""
    eta, momentum = (float(v[0]) for v in _at_pace(name, beta, rate, np.array([p])))
    workers = p if name == "EASGD" else 1
    problem = fleets.quadratic(sigma=(workers / p) ** 0.5, x0=0.0, size=2000)
    algorithm = fleets.method("easgd") if name == "EASGD" else fleets.registered(name.lower())
    run = fleets.fleet(
        problem,
        algorithm,
        p=workers,
        eta=eta,
        alpha=beta / p if name == "EASGD" else None,
        momentum=momentum or None,
    )
    run.run(seconds=steps)
    samples = run.center if name == "EASGD" else fleets.xs(run)[0]
    expected = _variance(name, beta, rate, np.array([p]))[0]
    return mean_of(f"simulated variance, {name}, p = {p}", samples.numpy() ** 2, expected)
