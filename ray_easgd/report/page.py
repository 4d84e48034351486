"""The report's HTML: everything inline, no script, nothing fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray_easgd.display.tree import from_json
from ray_easgd.report.facts import summary
from ray_easgd.report.numbers import Numbers
from ray_easgd.report.parts import (
    asset,
    configuration,
    events_table,
    plots_grid,
    tiles_row,
    tree_picture,
    tree_table,
)
from ray_easgd.report.plots import all_plots
from ray_easgd.report.tiles import tiles
from ray_easgd.report.words import count, text
from ray_easgd.version import __version__

if TYPE_CHECKING:
    from ray_easgd.run_folder import RunFolder


def render(folder: RunFolder) -> str:
    """The page for what a run's folder holds by now."""
    facts, events = summary(folder), folder.read_events()
    nodes = [from_json(node) for node in facts.get("tree") or ()]
    sections = [
        _header(facts, events),
        _failure(facts["error"]),
        tiles_row(tiles(facts)),
        tree_picture(nodes),
        _plots(Numbers(folder.read_metrics())),
        tree_table(nodes),
        events_table(events),
        configuration(folder.read_config()),
    ]
    return _PAGE.format(
        title=text(facts["name"]),
        style=asset("style.css"),
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
        count(facts["num_workers"], "worker") if facts["num_workers"] else None,
        f"began {events[0]['time'][:19].replace('T', ' ')} UTC" if events else None,
        f"resumed from {facts['resumed_from']}" if facts.get("resumed_from") else None,
        facts["path"],
    ]
    status = facts["status"]
    return (
        f'<header><h1>{text(facts["name"])} <span class="badge {status}">{status}</span></h1>'
        f'<p class="about">{text(" · ".join(str(a) for a in about if a))}</p></header>'
    )


def _failure(error: str | None) -> str:
    if not error:
        return ""
    return f'<section class="failure"><h2>The run failed</h2><pre>{text(error)}</pre></section>'


def _plots(numbers: Numbers) -> str:
    plots = all_plots(numbers)
    nothing = '<p class="note">Nothing has been measured in this run.</p>'
    return plots_grid(plots) if plots else nothing
