"""The figures, one entry each: the thesis's picture, its parameters and the function behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray_easgd.figures import (
    additive,
    double_well,
    multiplicative,
    orders,
    round_robin,
    speed_up,
    synchronous,
)
from ray_easgd.figures.outcome import Found

_SPREADS = (0.5, 1.0, 2.0, 10.0)
_INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class Figure:
    """``section`` is that of docs/mathematics.md; section 7 there lists all of them."""

    id: str
    title: str
    section: str
    compute: Callable[..., Found]
    parameters: Mapping[str, Any]


_ALL = (
    Figure("E1", "Mean squared error of the center", "3.1", synchronous.mean_squared_error,
           {"sigma": 10.0, "h": 1.0, "ps": (1, 10, 100, 1000, 10000),
            "ts": (1, 2, 10, 100, _INFINITY), "points": 40}),
    Figure("E2", "Mean and variance of the center over time", "3.1", synchronous.mean_and_variance,
           {"eta": 0.5, "alpha": 0.2, "p": 4, "h": 1.0, "sigma": 1.0, "rounds": 10}),
    Figure("E3", "Spectral radius of an ADMM round", "3.2", round_robin.admm_map,
           {"ps": (3, 8), "eta_max": 0.01, "rho_max": 10.0, "points": 48}),
    Figure("E4", "ADMM diverges", "3.2", round_robin.admm_divergence,
           {"p": 3, "eta": 0.001, "rho": 2.5, "x0": 1000.0, "turns": 60000, "simulated": 3000}),
    Figure("E5", "Where round-robin EASGD is stable", "3.2", round_robin.easgd_region,
           {"ps": (1, 2, 3, 8), "points": 60}),
    Figure("E6", "Double averaging reaches the Fisher bound", "3.1", synchronous.double_averaging,
           {"p": 4, "h": 2.0, "eta": 0.5, "alpha": 0.1, "sigma": 1.0, "simulated": (10, 100, 400)}),
    Figure("E7", "MSGD's spectral radius, additive noise", "3.4", additive.msgd_map,
           {"points": 80}),
    Figure("E8", "EASGD's spectral radius, additive noise", "3.4", additive.easgd_map,
           {"beta": 0.9, "points": 80}),
    Figure("E9", "EASGD is momentum", "3.4", additive.easgd_is_momentum,
           {"eta_h": 0.3, "delta": 0.6, "steps": 40}),
    Figure("E10", "Multiplicative noise and SGD's best rate", "3.5", multiplicative.sgd_rate,
           {"lams": _SPREADS, "p_max": 1024}),
    Figure("E11", "MSGD's spectral radius, multiplicative noise", "3.5", multiplicative.msgd_map,
           {"lam": 0.5, "p": 1, "points": 80}),
    Figure("E12", "EASGD's best rate against the workers", "3.5", multiplicative.easgd_rate,
           {"beta": 0.9, "lams": _SPREADS, "p_max": 1024}),
    Figure("E13", "EAMSGD's spectral radius, multiplicative noise", "3.5",
           multiplicative.eamsgd_map,
           {"lam": 0.5, "p": 4, "eta": 0.3, "delta": 0.3, "beta": 0.9, "points": 48}),
    Figure("E14", "The split of two wells: smallest eigenvalue", "3.6", double_well.hessian,
           {"points": 100, "eta": 0.05}),
    Figure("E15", "The center trapped between two wells", "3.6", double_well.trapping,
           {"eta": 0.05, "rhos": (0.1, 0.3, 0.5, 0.6, 0.66, 0.67, 0.7, 0.8), "center": 0.01,
            "rounds": 20000, "sigma": 0.3, "noisy": (0.3, 0.8)}),
    Figure("E16", "Stability of Jacobi, Gauss-Seidel and DOWNPOUR", "2.9", orders.schemes,
           {"beta": 0.9, "p": 4, "points": 110}),
    Figure("E17", "The tree: spectrum and stability", "2.10", orders.tree,
           {"d": 16, "beta": 0.9, "eta_hs": (0.01, 0.1, 0.5)}),
    Figure("E18", "The learning rate that round-robin DOWNPOUR bears", "3.3",
           round_robin.downpour_limit, {"ps": tuple(range(1, 17))}),
    Figure("E19", "Long periods: EASGD and DOWNPOUR", "3.3", orders.periods,
           {"p": 4, "eta_h": 0.05, "beta": 0.9, "taus": (1, 2, 4, 8, 16, 32, 64)}),
    Figure("E20", "The largest stable learning rate, multiplicative noise", "3.5",
           speed_up.stable_range, {"lams": _SPREADS, "beta": 0.9, "delta": 0.9, "p_max": 1024}),
    Figure("E21", "Speed-up against the workers, in both phases", "3.4", speed_up.speed_up,
           {"lams": _SPREADS, "beta": 0.9, "rate": 0.9, "p_max": 1024}),
)  # fmt: skip

FIGURES = {figure.id: figure for figure in _ALL}
