"""Which plots a report shows, each an SVG or nothing when nobody measured its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ray_easgd.report.figures import PALETTE, drawing, verbatim
from ray_easgd.report.numbers import Curve, Numbers, binned, pooled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MOST_IN_LEGEND = 8  # more workers become their median and range
MOST_WITH_SPREAD = 4  # more bands over each other hide the lines
NUM_BINS = 120  # about as many points as a plot this wide can show

OF_THE_RUN = {"val_accuracy", "test_accuracy", "val_loss", "test_loss", "loss"}
OF_A_WORKER = {"staleness", "distance", "push_norm", "step_rate"}


@dataclass(frozen=True)
class Plot:
    """One figure of the page."""

    title: str
    svg: str


@dataclass(frozen=True)
class Axis:
    """What a plot has below it: the run's clock, or the samples the center has absorbed."""

    label: str
    column: str
    scale: float = 1.0

    def of(self, curve: Curve) -> NDArray[np.float64]:
        column: NDArray[np.float64] = getattr(curve, self.column)
        return column / self.scale


def all_plots(numbers: Numbers) -> list[Plot]:
    """Every plot that has something to show, in the page's order."""
    time = time_axis(numbers.reached()[0])
    samples = Axis("samples absorbed by the center", "samples")
    plots = [
        *(_accuracy(numbers, axis) for axis in (time, samples)),
        *(_loss(numbers, axis) for axis in (time, samples)),
        _by_worker(numbers, "distance", "Distance from the center", "norm ‖x - c‖", time),
        _by_worker(numbers, "staleness", "Staleness of pushes", "center versions", time),
        _by_worker(numbers, "step_rate", "Step rate", "gradient steps / s", time),
        _by_worker(numbers, "push_norm", "Size of pushes", "norm ‖d‖", time),
        *(_reported(numbers, name, time) for name in _other_names(numbers)),
    ]
    return [plot for plot in plots if plot is not None]


def time_axis(longest_s: float) -> Axis:
    """Seconds, minutes or hours, whichever reads best."""
    if longest_s <= 300:
        return Axis("time (s)", "time_s")
    if longest_s <= 3 * 3600:
        return Axis("time (min)", "time_s", 60.0)
    return Axis("time (h)", "time_s", 3600.0)


def _accuracy(numbers: Numbers, axis: Axis) -> Plot | None:
    kinds = {"validation": "val_accuracy", "test": "test_accuracy"}
    curves = [pooled(numbers.curves(name), label) for label, name in kinds.items()]
    if not any(len(curve.value) for curve in curves):
        return None
    title = f"Accuracy of the center against {axis.label.partition(' ')[0]}"
    with drawing(title) as (axes, svg):
        for curve, color in zip(curves, PALETTE, strict=False):
            _line(axes, axis, curve, color)
        _label(axes, axis, "accuracy (fraction)")
    return Plot(title, svg[0])


def _loss(numbers: Numbers, axis: Axis) -> Plot | None:
    training = pooled(numbers.curves("loss"), "training, all workers (10 to 90 %)")
    kinds = {"validation": "val_loss", "test": "test_loss"}
    evaluated = [pooled(numbers.curves(name), label) for label, name in kinds.items()]
    if not any(len(curve.value) for curve in (training, *evaluated)):
        return None
    title = f"Loss against {axis.label.partition(' ')[0]}"
    with drawing(title) as (axes, svg):
        for curve, color in zip(evaluated, PALETTE, strict=False):
            _line(axes, axis, curve, color)
        _band(axes, axis, training, PALETTE[2])
        _label(axes, axis, "loss")
        _logarithmic_if_wide(axes, [training, *evaluated])
    return Plot(title, svg[0])


def _by_worker(numbers: Numbers, name: str, title: str, unit: str, axis: Axis) -> Plot | None:
    curves = numbers.curves(name)
    if not curves:
        return None
    with drawing(title) as (axes, svg):
        if len(curves) > MOST_IN_LEGEND:
            label = f"median of {len(curves)} (10 to 90 %)"
            _band(axes, axis, pooled(curves, label), PALETTE[0])
        else:
            few = len(curves) <= MOST_WITH_SPREAD
            for curve, color in zip(curves, PALETTE, strict=False):
                _band(axes, axis, curve, color, spread=few)
        _label(axes, axis, unit)
        axes.set_ylim(bottom=0)
    return Plot(title, svg[0])


def _reported(numbers: Numbers, name: str, axis: Axis) -> Plot | None:
    curves = numbers.curves(name)
    if not curves:
        return None
    shown = curves if len(curves) <= MOST_IN_LEGEND else [pooled(curves, "median, all sources")]
    title = f"Reported by your code: {name}"
    with drawing(title) as (axes, svg):
        for curve, color in zip(shown, PALETTE, strict=False):
            _band(axes, axis, curve, color)
        _label(axes, axis, verbatim(name))
    return Plot(title, svg[0])


def _other_names(numbers: Numbers, most: int = 8) -> list[str]:
    known = OF_THE_RUN | OF_A_WORKER
    return [name for name in numbers.names() if name not in known][:most]


def _line(axes: Axes, axis: Axis, curve: Curve, color: str) -> None:
    """Few measurements, each of them shown."""
    if len(curve.value):
        dots = "o" if len(curve.value) <= 60 else ""
        x = axis.of(curve)
        axes.plot(
            x, curve.value, color=color, label=verbatim(curve.source), marker=dots, markersize=3
        )


def _band(axes: Axes, axis: Axis, curve: Curve, color: str, *, spread: bool = True) -> None:
    """Many noisy measurements: the median of each stretch, and how far they spread."""
    if len(curve.value):
        num_bins = min(NUM_BINS, max(25, len(curve.value) // 8))
        x, low, middle, high = binned(axis.of(curve), curve.value, num_bins)
        if spread:
            axes.fill_between(x, low, high, color=color, alpha=0.13, linewidth=0)
        axes.plot(x, middle, color=color, label=verbatim(curve.source))


def _label(axes: Axes, axis: Axis, unit: str) -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_xlabel(axis.label)
    axes.set_ylabel(unit)
    axes.set_xlim(left=0)
    if axis.column == "samples":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _logarithmic_if_wide(axes: Axes, curves: Sequence[Curve]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    values = np.concatenate([curve.value for curve in curves])
    low, high = np.percentile(values, [1, 99])  # a single outlier does not decide
    if values.min() > 0 and high > 50 * low:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
