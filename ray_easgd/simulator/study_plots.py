"""Pictures of the two studies of trees, as PNG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]

_PANELS = {
    "steps_to_root": "gradient steps from a leaf to the root",
    "root_mb_per_s": "at the root's link, MB/s",
    "leaf_staleness": "staleness at a worker's hub, pushes",
}


def draw_scale(found: Row, folder: Path) -> list[str]:
    """A picture for each size of the vector: a row a link, the fleets' sizes along the axes."""
    return [_draw_size(n, _having(found["rows"], n=n), folder) for n in _all(found["rows"], "n")]


def _draw_size(n: int, rows: list[Row], folder: Path) -> str:
    links, workers = _all(rows, "gbit_per_s"), _all(rows, "workers")
    figure = _figure(4.4 * len(_PANELS), 3.4 * len(links))
    grid = figure.subplots(len(links), len(_PANELS), squeeze=False)
    for across, link in zip(grid, links, strict=True):
        for axes, (key, label) in zip(across, _PANELS.items(), strict=True):
            for shape in _all(rows, "shape"):
                mine = _having(rows, gbit_per_s=link, shape=shape)
                _line(axes, [r["workers"] for r in mine], [r[key] for r in mine], shape)
            least = min(row[key] for row in rows)
            axes.set(xscale="log", yscale="log" if least > 0 else "symlog")
            axes.set(xlabel="workers", ylabel=label)
            axes.set_title(f"{link:g} Gbit/s", fontsize=9)
            if not least:
                axes.set_ylim(bottom=0)
            axes.set_xticks(workers, [f"{count:,}" for count in workers])
            axes.minorticks_off()
    _legend(figure, grid[0][0])
    return _saved(figure, folder / f"scale-{n}.png")


def draw_tree(found: Row, folder: Path) -> list[str]:
    """Accuracy of the center by what a leaf, the whole fleet and the root's links have seen."""
    figure = _figure(13.2, 3.8)
    keys = {
        "samples_per_leaf": "samples per leaf",
        "samples": "samples of all leaves",
        "root_mb": "over the root's links, MB",
    }
    panels = figure.subplots(1, len(keys))
    for axes, (key, label) in zip(panels, keys.items(), strict=True):
        for fleet in _all(found["curves"], "fleet"):
            mine = [row for row in _having(found["curves"], fleet=fleet) if row[key] > 0]
            _line(axes, [r[key] for r in mine], [r["val_accuracy"] for r in mine], fleet)
        axes.set(xscale="log", xlabel=label, ylabel="validation accuracy")
    _legend(figure, panels[0])
    return [_saved(figure, folder / "thesis-tree.png")]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _line(axes: Axes, xs: Sequence[float], ys: Sequence[float], label: str) -> None:
    axes.plot(xs, ys, marker="o", markersize=3, linewidth=1.4, label=label)
    axes.grid(visible=True, linewidth=0.4)


def _legend(figure: Figure, axes: Axes) -> None:
    """Above all panels, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9)


def _saved(figure: Figure, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return str(path)


def _all(rows: Iterable[Row], key: str) -> list[Any]:
    """The values of a column, each once, in order."""
    return list(dict.fromkeys(row[key] for row in rows))


def _having(rows: Iterable[Row], **values: Any) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in values.items())]
