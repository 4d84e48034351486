"""Computes a figure and writes it down: picture, table, verdict."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ray_easgd import strict_json
from ray_easgd.errors import EasgdError
from ray_easgd.figures.catalog import Figure
from ray_easgd.figures.outcome import Found

_DPI = 110


def reproduce(figure: Figure, folder: Path) -> dict[str, Any]:
    """Write ``ID.png``, ``ID.csv`` and ``ID.json`` into ``folder``; returns what the JSON holds.

    A fleet that breaks down is a figure that does not agree, and leaves its JSON only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = figure.compute(**figure.parameters)
    except (EasgdError, np.linalg.LinAlgError) as error:
        verdict = _verdict(figure, agrees=False, reason=f"a simulation broke down: {error}")
    else:
        verdict = _verdict(figure, agrees=found.agrees, reason=found.reason, found=found)
        _draw(found, f"{figure.id}  {figure.title}", folder / f"{figure.id}.png")
        _tabulate(found, folder / f"{figure.id}.csv")
    (folder / f"{figure.id}.json").write_text(strict_json.dumps(verdict, indent=1) + "\n", "utf-8")
    return verdict


def _verdict(
    figure: Figure, *, agrees: bool, reason: str, found: Found | None = None
) -> dict[str, Any]:
    checks = found.checks if found else ()
    values = dict(found.values) if found else {}
    return {
        "figure": figure.id,
        "agrees": agrees,
        "reason": reason,
        "values": {check.what: check.found for check in checks} | values,
        "expected": {check.what: [check.expected, check.within] for check in checks},
        "title": figure.title,
        "section": figure.section,
        "parameters": dict(figure.parameters),
    }


def _draw(found: Found, title: str, path: Path) -> None:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=found.size, layout="constrained")
    found.draw(canvas)
    canvas.suptitle(title, fontsize=11)
    canvas.savefig(path, dpi=_DPI)


def _tabulate(found: Found, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(found.rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows({key: _plain(value) for key, value in row.items()} for row in found.rows)


def _plain(value: Any) -> Any:
    """Floats to ten digits: more are of no use, and not the same on every machine."""
    return f"{value:.10g}" if isinstance(value, float) else value
