"""The page of a run that is going on: the report's parts, what goes on in words, and a script
that asks for the page again now and then and puts what changed into place."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ray_easgd.display.tree import USUAL, TreeNode
from ray_easgd.report.parts import (
    asset,
    configuration,
    events_table,
    is_bad,
    plots_grid,
    tiles_row,
    tree_picture,
    tree_table,
)
from ray_easgd.report.plots import Plot
from ray_easgd.report.saying import aim, how_it_goes, out_of_the_ordinary, pace, split
from ray_easgd.report.tiles import Tile, duration, short
from ray_easgd.report.words import count, number, text
from ray_easgd.version import __version__

REFRESH_S = 2
_MOST_LATELY = 7


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the folder's metrics say: ``facts`` are those of the last measurements."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    plots: Sequence[Plot] = ()
    age_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LiveRun:
    """A run at one moment, as the page shows it.

    ``time_s``: of the run's own clock, NaN where nobody knows; ``measured`` is None until the
    metrics have been read for the first time. ``note`` says what the page lacks, and why.
    """

    name: str
    path: str
    nodes: Sequence[TreeNode]
    samples: int = 0
    total_samples: int | None = None
    samples_per_s: float = math.nan
    time_s: float = math.nan
    measured: Measured | None = None
    events: Sequence[dict[str, Any]] = ()
    config: str = ""
    note: str = ""
    is_stale: bool = False


def render_live(run: LiveRun) -> str:
    """The whole page."""
    sections = {
        "top": _header(run),
        "now": _now(run),
        "key": tiles_row(_tiles(run)),
        "what": f'<div class="beside">{_tree(run)}{_lately(run)}</div>',
        "plots": _plots(run.measured),
        "nodes": tree_table(run.nodes),
        "events": events_table(run.events, newest_first=True),
        "config": configuration(run.config),
    }
    body = "\n".join(f'<section id="{key}">{part}</section>' for key, part in sections.items())
    return _PAGE.format(
        title=text(_title(run)),
        refresh=REFRESH_S,
        report=text(_report(run)),
        style=_style(),
        script=_script(),
        body=body,
        version=__version__,
    )


@cache
def policy() -> str:
    """The Content-Security-Policy: this style, this script, questions to where the page is from.

    Attributes may style: plots are drawn with them, and all text is escaped.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(_script())}'",
            f"style-src '{_digest(_style())}'",
            "style-src-attr 'unsafe-inline'",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


_PAGE = """<!doctype html>
<html lang="en" data-refresh="{refresh}" data-report="{report}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<noscript><meta http-equiv="refresh" content="10"></noscript>
<title>{title}</title>
<style>{style}</style>
</head>
<body><main>
<p id="connection" hidden></p>
{body}
<footer>ray-easgd {version}. This page only looks: nothing here changes the run.</footer>
</main>
<script>{script}</script>
</body>
</html>
"""


@cache
def _style() -> str:
    return "\n" + asset("style.css") + asset("live.css")


@cache
def _script() -> str:
    return "\n" + asset("live.js")


def _digest(words: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(words.encode()).digest()).decode()


def _report(run: LiveRun) -> str:
    return f"{run.path}/report.html" if run.path else ""


def _title(run: LiveRun) -> str:
    share = f"{run.samples / run.total_samples:.0%} · " if run.total_samples else ""
    return f"{share}{run.name} · ray-easgd"


def _header(run: LiveRun) -> str:
    word, kind = _state(run)
    clock = f" for {duration(run.time_s)}" if math.isfinite(run.time_s) else ""
    return (
        f'<header><h1>{text(run.name)} <span id="badge" class="badge {kind}">{word}</span></h1>'
        f'<p class="about">{text(run.path)}{" · " if run.path and clock else ""}'
        f"{'going on' + clock if clock else ''}</p></header>"
    )


def _state(run: LiveRun) -> tuple[str, str]:
    _, workers = split(run.nodes)
    if run.is_stale:
        return "no answer", "unfinished"
    if any(worker.state in USUAL for worker in workers):
        return "training", "training"
    return "starting", "unfinished"


def _now(run: LiveRun) -> str:
    said = how_it_goes(run.nodes, run.samples, run.total_samples, run.samples_per_s)
    odd = "".join(f"<li>{text(words)}</li>" for words in out_of_the_ordinary(run.nodes))
    bar = ""
    if run.total_samples:
        share = min(100.0, 100 * run.samples / run.total_samples)
        bar = f'<div class="bar"><div style="width:{share:.1f}%"></div></div>'
    note = f'<p class="notice">{text(run.note)}</p>' if run.note else ""
    return f'{bar}{note}<p class="saying">{text(said)} {text(aim(run.config))}</p>' + (
        f'<ul class="odd">{odd}</ul>' if odd else ""
    )


def _tiles(run: LiveRun) -> list[Tile]:
    facts = run.measured.facts if run.measured else {}
    _, workers = split(run.nodes)
    losses = [w.loss for w in workers if math.isfinite(w.loss)]
    accuracy = facts.get("val_accuracy")
    best = facts.get("best_val_accuracy")
    return [
        _samples(run),
        _pace(run, workers),
        Tile(
            "Validation accuracy",
            "-" if accuracy is None else f"{100 * accuracy:.2f} %",
            "not tested yet" if accuracy is None else f"best {100 * (best or accuracy):.2f} %",
        ),
        Tile(
            "Training loss",
            number(sum(losses) / len(losses), ".4g") if losses else "-",
            "mean over workers" if losses else "no step yet",
        ),
        _workers(workers),
        _center(run),
    ]


def _samples(run: LiveRun) -> Tile:
    total = run.total_samples
    return Tile("Samples at the center", short(run.samples), f"of {short(total)}" if total else "")


def _pace(run: LiveRun, workers: Sequence[TreeNode]) -> Tile:
    steps = f"{number(pace(workers))} gradient steps"
    known = math.isfinite(run.samples_per_s)
    return Tile("Samples per second", short(run.samples_per_s) if known else "-", steps)


def _workers(workers: Sequence[TreeNode]) -> Tile:
    odd = sum(worker.state not in USUAL for worker in workers)
    more = f"{odd} not training" if odd else "all training"
    return Tile("Workers", str(len(workers)), more if workers else "none yet")


def _center(run: LiveRun) -> Tile:
    root = next((node for node in run.nodes if not node.parent), None)
    if root is None or root.state:
        return Tile("Center's version", "-", root.state if root else "")
    rate = number(root.exchanges_per_s)
    return Tile("Center's version", short(root.version), f"{rate} pushes a second")


def _tree(run: LiveRun) -> str:
    return f"<div>{tree_picture(run.nodes)}</div>"


def _lately(run: LiveRun) -> str:
    """The newest events, in words."""
    if not run.events:
        return ""
    items = "".join(_item(event, run.time_s) for event in reversed(run.events[-_MOST_LATELY:]))
    return f'<div><h2>Lately</h2><ol class="card lately">{items}</ol></div>'


def _item(event: Mapping[str, Any], now_s: float) -> str:
    ago = now_s - event["time_s"]
    when = f"{_ago(ago)} ago" if math.isfinite(ago) else duration(event["time_s"])
    bad = " class=bad" if is_bad(event["kind"]) else ""
    source = "" if event["source"] == "driver" else f"{text(event['source'])}: "
    return f"<li{bad}><time>{when}</time> {source}{text(event['message'])}</li>"


def _ago(seconds: float) -> str:
    return f"{max(0.0, seconds):.0f} s" if seconds < 99.5 else duration(seconds)


def _plots(measured: Measured | None) -> str:
    if measured is None:
        return '<p class="note">The plots are being drawn.</p>'
    if not measured.plots:
        return '<p class="note">Nothing has been measured yet.</p>'
    age = f"drawn {_ago(measured.age_s)} ago, now and then so that the training keeps its CPU"
    count_of = count(len(measured.plots), "plot")
    return plots_grid(measured.plots) + f'<p class="note">{count_of}, {age}.</p>'
