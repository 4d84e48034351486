"""Parts that the report of a finished run and the page of a live one have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from ray_easgd.display.tree import USUAL, TreeNode, drawn
from ray_easgd.report.drawing import tree_drawing
from ray_easgd.report.facts import FAILURES
from ray_easgd.report.plots import Plot
from ray_easgd.report.tiles import Tile, duration
from ray_easgd.report.words import number, text

MOST_EVENTS = 500  # on the page; the file has them all

_COLUMNS = (
    *("", "state", "version", "steps/s", "loss", "exchanges/s"),
    *("moving rate", "staleness", "distance"),
)


def asset(name: str) -> str:
    """A style sheet or script of the page."""
    return files("ray_easgd.report").joinpath(name).read_text(encoding="utf-8")


def tiles_row(tiles: Iterable[Tile]) -> str:
    """Key numbers beside each other."""
    shown = "".join(
        f'<div class="tile"><dt>{text(tile.label)}</dt>'
        f'<dd><div class="number">{text(tile.number)}</div>'
        f'<div class="more">{text(tile.more)}</div></dd></div>'
        for tile in tiles
    )
    return f'<dl class="tiles">{shown}</dl>' if shown else ""


def tree_picture(nodes: Sequence[TreeNode]) -> str:
    """The tree drawn; wider ones scroll."""
    drawing = tree_drawing(nodes)
    return f'<h2>Tree</h2><div class="card pan">{drawing}</div>' if drawing else ""


def tree_table(nodes: Sequence[TreeNode]) -> str:
    """All that is known of each hub and worker."""
    if not nodes:
        return ""
    head = "".join(f"<th>{text(heading)}</th>" for heading in _COLUMNS)
    rows = "\n".join(_row(lead, node) for lead, node in drawn(nodes))
    return (
        "<h2>Hubs and workers</h2>"
        f'<div class="card scroll"><table class="numbers"><tr>{head}</tr>{rows}</table></div>'
        '<p class="note">Version: pushes that a hub has applied, gradient steps of a worker. '
        "Staleness, in versions of the hub above, and distance to it, at the latest exchange.</p>"
    )


def _row(lead: str, node: TreeNode) -> str:
    cells = (
        f"{node.version:,}",
        number(node.steps_per_s, ",.1f"),
        number(node.loss),
        number(node.exchanges_per_s, ",.1f"),
        number(node.moving_rate, ".4g"),
        number(node.staleness, ".1f"),
        number(node.distance),
    )
    odd = "" if node.state in USUAL or node.state in {"starting", "left"} else " class=bad"
    numbers = "".join(f'<td class="when">{text(cell)}</td>' for cell in cells)
    return (
        f'<tr{odd}><td class="tree">{text(lead)}{text(node.name)}</td>'
        f'<td class="state">{text(node.state or "-")}</td>{numbers}</tr>'
    )


def plots_grid(plots: Sequence[Plot]) -> str:
    """The plots beside each other."""
    shown = "\n".join(
        f'<figure class="card"><h3>{text(plot.title)}</h3>{plot.svg}</figure>' for plot in plots
    )
    return f'<h2>Measurements</h2><div class="plots">{shown}</div>'


def events_table(events: Sequence[dict[str, Any]], *, newest_first: bool = False) -> str:
    """What happened, each with its time."""
    if not events:
        return ""
    newest = events[-MOST_EVENTS:]
    left_out = len(events) - len(newest)
    note = f'<p class="note">{left_out} earlier ones are in events.jsonl.</p>' if left_out else ""
    rows = "\n".join(map(_event, reversed(newest) if newest_first else newest))
    head = "<tr><th>Time</th><th>What</th><th>Where</th><th>Message</th></tr>"
    return f'<h2>Events</h2>{note}<div class="card scroll"><table>{head}{rows}</table></div>'


def is_bad(kind: str) -> bool:
    """Whether an event of that kind is a loss or a failure."""
    return kind in FAILURES or "lost" in kind or "failed" in kind


def _event(event: dict[str, Any]) -> str:
    details = json.dumps(event["details"], ensure_ascii=False) if event["details"] else ""
    return (
        f"<tr{' class=bad' if is_bad(event['kind']) else ''}>"
        f'<td class="when" title="{text(event["time"])}">'
        f'{duration(event["time_s"])}</td><td class="kind">{text(event["kind"])}</td>'
        f"<td>{text(event['source'])}</td>"
        f"<td>{text(event['message'])} <code>{text(details)}</code></td></tr>"
    )


def configuration(config: str) -> str:
    """The resolved configuration, as it was written."""
    return f'<h2>Configuration</h2><div class="card config"><pre>{text(config)}</pre></div>' * bool(
        config
    )
