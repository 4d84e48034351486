"""A series as a page: a picture and a table in HTML, and the JSON beside them."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, Any]

_PANELS = {
    "vs_pair": "samples/s over the no-exchange pair's",
    "training_to_target_s": "first step to target, s",
    "first_step_s": "command to first step, s",
    "stall_s": "survivors stood still, s",
}
_COLUMNS = (
    *("runs", "samples_per_s", "vs_pair", "time_to_target_s", "training_to_target_s"),
    *("final_accuracy", "first_step_s", "stall_s", "rejoin_s", "goodput", "bytes_per_sample"),
    *("peak_memory_mib", "reason"),
)
_STYLE = (
    "body{font:14px sans-serif;margin:2em}"
    "td,th{padding:2px 10px;text-align:right}"
    "img{max-width:100%}"
)


def write_page(found: Row, folder: Path) -> list[str]:
    """``peers-SCENE.png`` and ``.html``; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"peers-{found['scene']}"
    _draw(found["medians"], folder / f"{name}.png")
    told = {k: v for k, v in found.items() if k not in ("rows", "medians")}
    facts = ", ".join(f"{key} {value}" for key, value in told.items() if value is not None)
    head = f"<meta charset=utf-8><title>{name}</title><style>{_STYLE}</style>"
    page = f"<h1>Peers, scene {found['scene']}</h1><p>{escape(facts)}. Medians:</p>"
    page += f"<img src={name}.png>{_table(found['medians'])}"
    (folder / f"{name}.html").write_text(f"<!doctype html>{head}{page}", "utf-8")
    return [str(folder / f"{name}{ending}") for ending in (".png", ".html")]


def _table(rows: list[Row]) -> str:
    head = "".join(f"<th>{escape(column)}" for column in ("peer", *_COLUMNS))
    lines = [
        f"<tr><th>{escape(row['peer'])}" + "".join(f"<td>{_shown(row[c])}" for c in _COLUMNS)
        for row in rows
    ]
    return f"<table><tr>{head}{''.join(lines)}</table>"


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def _draw(rows: list[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    panels = {k: v for k, v in _PANELS.items() if any(r[k] is not None for r in rows)}
    figure = Figure(
        figsize=(3.6 * max(1, len(panels)), 0.3 * len(rows) + 1.2), layout="constrained"
    )
    for axes, (key, label) in zip(
        figure.subplots(1, max(1, len(panels)), sharey=True, squeeze=False)[0],
        panels.items(),
        strict=False,
    ):
        _bars(axes, rows, key, label)
    figure.savefig(path, dpi=120)


def _bars(axes: Axes, rows: list[Row], key: str, label: str) -> None:
    names = [row["peer"] for row in rows]
    values = [row[key] or 0.0 for row in rows]
    axes.barh(names, values, height=0.6)
    axes.invert_yaxis()
    axes.set_xlabel(label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, axis="x", linewidth=0.4)
