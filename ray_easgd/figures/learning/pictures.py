"""Curves of test accuracy in virtual time, and the best of each against what was varied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ray_easgd.figures.drawing import line
from ray_easgd.figures.learning.contests import NAMES, Runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLORS = {"easgd": "C0", "eamsgd": "C1", "downpour": "C2", "msgd": "gray"}
_TITLES = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}


def title_of(data: str) -> str:
    """The data set as its authors write it."""
    return _TITLES.get(data, data)


def grid(canvas: Canvas, data: Sequence[str], columns: int) -> list[list[Axes]]:
    """A row of panels a data set; the curves of a row on one scale, the last panel on its own."""
    panels = canvas.subplots(len(data), columns, squeeze=False)
    for row in panels:
        row[0].set_ylabel("test accuracy of the center, %")
        for axes in row[1:-1]:
            axes.sharey(row[0])
            axes.tick_params(labelleft=False)
    return [list(row) for row in panels]


def curve(axes: Axes, runs: Runs, label: str, **style: Any) -> None:
    """Mean over the seeds, and the band from the worst to the best of them."""
    times, accuracies = runs.of("time").mean(0), 100.0 * runs.of("test_accuracy")
    line(axes, times, accuracies.mean(0), label, **style)
    color = axes.lines[-1].get_color()
    axes.fill_between(times, accuracies.min(0), accuracies.max(0), color=color, alpha=0.15, lw=0)
    axes.set_xlabel("virtual time, steps of a worker")


def methods(axes: Axes, runs: Iterable[Runs]) -> None:
    """A curve a method, in its color."""
    for one in runs:
        name = one.contestant.method
        style = {"linestyle": "--"} if name == "msgd" else {}
        curve(axes, one, _label(name), color=COLORS[name], **style)


def bests(
    axes: Axes, xs: Sequence[float], runs: Sequence[Runs], label: str | None = None, **style: Any
) -> None:
    """The best accuracy of a run: mean, least and most over the seeds."""
    values = np.array([100.0 * one.best for one in runs])
    mean = values.mean(1)
    spread = np.abs(np.stack([mean - values.min(1), values.max(1) - mean]))
    shape: dict[str, Any] = {"marker": "o", "markersize": 4, "capsize": 3, "linewidth": 1.2} | style
    axes.errorbar(xs, mean, yerr=spread, label=label, **shape)
    axes.set_title("best of a run, %", fontsize=10)
    axes.grid(visible=True, linewidth=0.4)


def level(axes: Axes, runs: Runs) -> None:
    """The sequential baseline, which has nothing to vary."""
    axes.axhline(100.0 * runs.best.mean(), color=COLORS["msgd"], linestyle="--", linewidth=1.2)


def ticks(axes: Axes, xs: Sequence[float], label: str, base: int = 10) -> None:
    """What was varied, along a logarithmic axis."""
    axes.set_xscale("log", base=base)
    axes.set_xticks(list(xs), [f"{x:,g}" for x in xs])
    axes.minorticks_off()
    axes.set_xlabel(label)


def _label(name: str) -> str:
    return f"{NAMES[name]}, one worker" if name == "msgd" else NAMES[name]
