"""Lines and maps in the house style. matplotlib is imported where it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

DOTS: dict[str, Any] = {
    "marker": "o",
    "linestyle": "none",
    "markersize": 4.5,
    "markerfacecolor": "none",
}
ON_A_MAP: dict[str, Any] = {"color": "black", "markerfacecolor": "white"}
BEST: dict[str, Any] = ON_A_MAP | {"marker": "*", "markersize": 12}


def line(axes: Axes, xs: ArrayLike, ys: ArrayLike, label: str | None = None, **style: Any) -> None:
    """A curve of the theory."""
    shape: dict[str, Any] = {"linewidth": 1.4} | style
    axes.plot(np.asarray(xs), np.asarray(ys), label=label, **shape)
    if not axes.collections:  # a map has contours instead
        axes.grid(visible=True, linewidth=0.4)


def dots(axes: Axes, xs: ArrayLike, ys: ArrayLike, label: str | None = None, **style: Any) -> None:
    """What the runtime's own fleet did."""
    shape: dict[str, Any] = {"color": "black"} | DOTS | style
    axes.plot(np.asarray(xs), np.asarray(ys), label=label, **shape)


def legend(canvas: Canvas, *panels: Axes, columns: int | None = None) -> None:
    """Below all panels, where it covers nothing; each label once."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    canvas.legend(
        list(found.values()),
        list(found),
        loc="outside lower center",
        ncols=columns or min(4, len(found)),
        fontsize=9,
    )


def radius_map(
    canvas: Canvas,
    axes: Axes,
    xs: ArrayLike,
    ys: ArrayLike,
    radius: ArrayLike,
    *,
    top: float = 1.5,
    color_label: str | None = "spectral radius",
) -> None:
    """A spectral radius over two rates, ``radius[y, x]``; the white line is where it is 1."""
    z = np.asarray(radius)
    mesh = axes.pcolormesh(xs, ys, np.minimum(z, top), vmin=0.0, vmax=top, rasterized=True)
    if z.min() < 1.0 < z.max():
        axes.contour(xs, ys, z, levels=[1.0], colors="white", linewidths=1.6)
    axes.contour(
        xs, ys, z, levels=np.arange(0.1, 1.0, 0.1), colors="white", linewidths=0.4, alpha=0.7
    )
    if color_label:
        canvas.colorbar(mesh, ax=axes, label=color_label, extend="max")


def powers_of_two(axes: Axes, ps: Sequence[int]) -> None:
    """Workers along a logarithmic axis."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ps), [f"{p:,}" for p in ps])
    axes.minorticks_off()
