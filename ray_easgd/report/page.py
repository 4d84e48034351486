"""The report's HTML: everything inline, no script, nothing fetched."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ray_easgd.display.tree import HEADINGS, cells, drawn, from_json
from ray_easgd.report.facts import FAILURES, summary
from ray_easgd.report.numbers import Numbers
from ray_easgd.report.plots import all_plots
from ray_easgd.report.tiles import duration, tiles
from ray_easgd.version import __version__

if TYPE_CHECKING:
    from ray_easgd.run_folder import RunFolder

MOST_EVENTS = 500  # on the page; the file has them all


def render(folder: RunFolder) -> str:
    """The page for what a run's folder holds by now."""
    facts, events = summary(folder), folder.read_events()
    sections = [
        _header(facts, events),
        _failure(facts["error"]),
        _tiles(facts),
        _tree(facts.get("tree") or []),
        _plots(Numbers(folder.read_metrics())),
        _events(events),
        _configuration(folder.read_config()),
    ]
    return _PAGE.format(
        title=escape(facts["name"]),
        style=files("ray_easgd.report").joinpath("style.css").read_text(encoding="utf-8"),
        body="\n".join(section for section in sections if section),
        version=__version__,
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · ray-easgd</title>
<style>
{style}</style>
</head>
<body><main>
{body}
<footer>Written by ray-easgd {version}. The numbers are in metrics/part-*.parquet.</footer>
</main></body>
</html>
"""


def _header(facts: dict[str, Any], events: list[dict[str, Any]]) -> str:
    about = [
        facts["algorithm"],
        f"{facts['num_workers']} workers" if facts["num_workers"] else None,
        f"began {events[0]['time'][:19].replace('T', ' ')} UTC" if events else None,
        f"resumed from {facts['resumed_from']}" if facts.get("resumed_from") else None,
        facts["path"],
    ]
    status = facts["status"]
    return (
        f'<header><h1>{escape(facts["name"])} <span class="badge {status}">{status}</span></h1>'
        f'<p class="about">{escape(" · ".join(str(a) for a in about if a))}</p></header>'
    )


def _failure(error: str | None) -> str:
    if not error:
        return ""
    return f'<section class="failure"><h2>The run failed</h2><pre>{escape(error)}</pre></section>'


def _tiles(facts: dict[str, Any]) -> str:
    shown = "".join(
        f'<div class="tile"><dt>{escape(tile.label)}</dt>'
        f'<dd><div class="number">{escape(tile.number)}</div>'
        f'<div class="more">{escape(tile.more)}</div></dd></div>'
        for tile in tiles(facts)
    )
    return f'<dl class="tiles">{shown}</dl>' if shown else ""


def _tree(nodes: list[dict[str, Any]]) -> str:
    if not nodes:
        return ""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in ("", *HEADINGS))
    rows = "\n".join(
        f'<tr><td class="tree">{escape(lead)}{escape(node.name)}</td>'
        + "".join(f'<td class="when">{escape(cell)}</td>' for cell in cells(node))
        + "</tr>"
        for lead, node in drawn(map(from_json, nodes))
    )
    return f'<h2>Tree</h2><div class="card scroll"><table><tr>{head}</tr>{rows}</table></div>'


def _plots(numbers: Numbers) -> str:
    plots = all_plots(numbers)
    if not plots:
        return '<p class="note">Nothing has been measured in this run.</p>'
    shown = "\n".join(
        f'<figure class="card"><h3>{escape(plot.title)}</h3>{plot.svg}</figure>' for plot in plots
    )
    return f'<h2>Measurements</h2><div class="plots">{shown}</div>'


def _events(events: list[dict[str, Any]]) -> str:
    if not events:
        return ""
    newest = events[-MOST_EVENTS:]
    left_out = len(events) - len(newest)
    note = f'<p class="note">{left_out} earlier ones are in events.jsonl.</p>' if left_out else ""
    rows = "\n".join(_event(event) for event in newest)
    head = "<tr><th>Time</th><th>What</th><th>Where</th><th>Message</th></tr>"
    return f'<h2>Events</h2>{note}<div class="card scroll"><table>{head}{rows}</table></div>'


def _event(event: dict[str, Any]) -> str:
    bad = event["kind"] in FAILURES or "lost" in event["kind"]
    details = json.dumps(event["details"], ensure_ascii=False) if event["details"] else ""
    return (
        f'<tr{" class=bad" if bad else ""}><td class="when" title="{escape(event["time"])}">'
        f'{duration(event["time_s"])}</td><td class="kind">{escape(event["kind"])}</td>'
        f"<td>{escape(event['source'])}</td>"
        f"<td>{escape(event['message'])} <code>{escape(details)}</code></td></tr>"
    )


def _configuration(text: str) -> str:
    return f'<h2>Configuration</h2><div class="card"><pre>{escape(text)}</pre></div>' * bool(text)
