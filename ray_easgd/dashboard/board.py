"""The Grafana board: panels over the table of series, as the JSON that Grafana provisions.

After a change: ``python -m ray_easgd.dashboard.board``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ray_easgd.dashboard import BOARD
from ray_easgd.series import SERIES, Series

UID = "rayEasgd"
_TITLE = "ray-easgd"
_PER_ROW, _COLUMNS, _HEIGHT = 3, 24, 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_BY_NAME = {series.name: series for series in SERIES}

# Grafana's names of units; others are shown as they are.
_UNITS = {"s": "s", "bytes/s": "Bps", "share": "percentunit", "hours": "h", "": "none"}


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph of some series, which share a unit."""

    title: str
    names: tuple[str, ...]

    @property
    def series(self) -> tuple[Series, ...]:
        """What it shows; KeyError where the table has no such series."""
        return tuple(_BY_NAME[name] for name in self.names)


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Learning",
        (
            Panel("Training loss", ("loss",)),
            Panel("Accuracy on held-out data", ("val_accuracy",)),
            Panel("Samples a second", ("samples_per_s",)),
            Panel("Samples", ("samples", "samples_repeated")),
            Panel("Distance to the hub", ("distance",)),
            Panel("Staleness", ("staleness",)),
        ),
    ),
    (
        "Center and exchanges",
        (
            Panel("Center version", ("center_version",)),
            Panel("Pushes a second at the center", ("center_pushes_per_s",)),
            Panel("Lives of the center's state", ("center_epoch",)),
            Panel("Exchanges a second", ("exchanges_per_s",)),
            Panel("Time of an exchange", ("exchange_s",)),
            Panel("Bytes a second", ("sent_bytes_per_s", "received_bytes_per_s")),
        ),
    ),
    (
        "Workers",
        (
            Panel("Workers by state", ("workers", "workers_wanted")),
            Panel("Steps a second of a worker", ("slowest_steps_per_s", "median_steps_per_s")),
            Panel("Lost workers", ("workers_lost", "crashes_in_a_row")),
            Panel("Restarts after non-finite numbers", ("restarts",)),
            Panel("Leases of data", ("leases_held", "leases_returned")),
        ),
    ),
    (
        "What is paid",
        (
            Panel("Goodput", ("goodput",)),
            Panel("Steps", ("steps_paid", "steps_useful")),
            Panel("Worker hours", ("worker_hours",)),
            Panel("Estimated cost", ("cost",)),
        ),
    ),
)


def panels() -> Iterator[Panel]:
    """All of them, row by row."""
    for _, row in ROWS:
        yield from row


def query(series: Series) -> str:
    """Its PromQL, for the runs that are chosen: one line for each run and value of its tag.

    ``max`` is over drivers of one run, of which only the last one is alive.
    """
    by = ", ".join(("run", series.tag) if series.tag else ("run",))
    return f'max by ({by}) ({series.exported}{{run=~"$run"}})'


def board() -> dict[str, Any]:
    """The whole board."""
    shown: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        shown.append(_heading(title, y, number=len(shown) + 1))
        y += 1
        for k in range(0, len(row), _PER_ROW):
            for j, panel in enumerate(row[k : k + _PER_ROW]):
                shown.append(_panel(panel, x=j, y=y, number=len(shown) + 1))
            y += _HEIGHT
    return {
        "uid": UID,
        "title": _TITLE,
        "tags": ["ray", "ray-easgd"],
        "editable": True,
        "schemaVersion": 36,
        "version": 1,
        "refresh": "10s",
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_data_source(), _run()]},
        "panels": shown,
    }


def as_json() -> str:
    """As it is shipped."""
    return json.dumps(board(), indent=1) + "\n"


def _panel(panel: Panel, *, x: int, y: int, number: int) -> dict[str, Any]:
    width = _COLUMNS // _PER_ROW
    units = {series.unit for series in panel.series}
    unit = _UNITS.get(units.pop(), "short") if len(units) == 1 else "short"
    several = len(panel.names) > 1
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": "\n\n".join(f"{s.exported}: {s.meaning}." for s in panel.series),
        "datasource": _SOURCE,
        "gridPos": {"x": x * width, "y": y, "w": width, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": unit, "custom": {"lineWidth": 1, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": _targets(panel.series, several=several),
    }


def _targets(shown: Sequence[Series], *, several: bool) -> list[dict[str, Any]]:
    return [
        {
            "refId": chr(ord("A") + k),
            "datasource": _SOURCE,
            "expr": query(series),
            "legendFormat": _legend(series, several=several),
        }
        for k, series in enumerate(shown)
    ]


def _legend(series: Series, *, several: bool) -> str:
    words = ["{{run}}"]
    if several:
        words.append(series.name.removesuffix("_bytes_per_s").replace("_", " "))
    if series.tag:
        words.append(f"{'' if series.tag == 'state' else series.tag + ' '}{{{{{series.tag}}}}}")
    return " ".join(words)


def _heading(title: str, y: int, *, number: int) -> dict[str, Any]:
    where = {"x": 0, "y": y, "w": _COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": where}


def _data_source() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
    }


def _run() -> dict[str, Any]:
    """The runs of the time that is shown."""
    asked = f"label_values({_BY_NAME['center_version'].exported}, run)"
    return {
        "name": "run",
        "label": "Run",
        "type": "query",
        "datasource": _SOURCE,
        "definition": asked,
        "query": {"query": asked, "refId": "StandardVariableQuery"},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".+",
        "multi": True,
        "sort": 2,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


if __name__ == "__main__":
    BOARD.write_text(as_json(), encoding="utf-8")
