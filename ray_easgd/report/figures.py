"""Matplotlib figures as SVG that belongs to a page: its type, its colors, light or dark."""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Mid-bright hues: each stands out from white and from near-black.
PALETTE = ("#3b82f6", "#f0862e", "#22a06b", "#df4b5b", "#9a6fe0", "#12a5bd", "#d765ad", "#a8794e")

# Drawn in these, then replaced by the page's own colors.
_INK, _GRID = "#012345", "#543210"
_VARIABLES = {_INK: "var(--muted)", _GRID: "var(--line)"}

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "font.family": "DejaVu Sans",
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",  # text stays text: smaller, and it can be searched and copied
    "text.color": _INK,
    "xtick.color": _GRID,
    "xtick.labelcolor": _INK,
    "xtick.labelsize": 8.5,
    "ytick.color": _GRID,
    "ytick.labelcolor": _INK,
    "ytick.labelsize": 8.5,
}


@contextmanager
def drawing(title: str) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on; the finished SVG is put into the list on leaving."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    svg: list[str] = []
    with mpl.rc_context({**_STYLE, "svg.hashsalt": title}), warnings.catch_warnings():
        # Matplotlib only measures the text; the browser draws it, with fonts for every script.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(5.6, 3.1))
        axes = figure.subplots()
        yield axes, svg
        rows = _add_legend(axes)
        # Equal margins, so that plots beside each other line up.
        figure.subplots_adjust(left=0.13, right=0.985, bottom=0.16, top=0.97 - 0.07 * rows)
        svg.append(_to_svg(figure, title))


def _add_legend(axes: Axes) -> int:
    """Above the plot, where it covers nothing. Returns how many rows it takes."""
    _, labels = axes.get_legend_handles_labels()
    if not labels:
        return 0
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=4 if len(labels) > 3 else len(labels),
        borderaxespad=0.3,
        handlelength=1.4,
        columnspacing=1.4,
    )
    return math.ceil(len(labels) / 4)


def _to_svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]  # the page is HTML: no XML declaration, no DOCTYPE
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it stands in style.css
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)  # the page sets the size
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)


def verbatim(text: str) -> str:
    """Text as it is: matplotlib takes what stands between dollar signs for mathematics."""
    return text.replace("$", r"\$")
