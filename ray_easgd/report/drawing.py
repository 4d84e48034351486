"""The tree of a run as one SVG: the center on the left, workers as leaves on the right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ray_easgd.display.tree import USUAL, TreeNode
from ray_easgd.report.tiles import short
from ray_easgd.report.words import count, number, shortened, text

MOST_LEAVES = 32  # drawn; the table beside the drawing has them all
_WIDTH, _HEIGHT, _GAP, _PITCH = 218, 58, 44, 68
_SMALLEST = 0.86  # of its size; a narrower place scrolls
_TALL = 9  # rows that are seen at once
_NAME, _LINE = 23, 33  # characters that fit

_COLORS = {
    "": "good",
    "training": "good",
    "done": "done",
    "starting": "warn",
    "waiting": "warn",
    "leaving": "warn",
    "left": "done",
}


@dataclass
class Box:
    """A node where it is drawn; ``place`` is (column, row), rows may be halves."""

    node: TreeNode
    lines: tuple[str, str]
    children: list[Box] = field(default_factory=list)
    place: tuple[int, float] = (0, 0.0)
    is_rest: bool = False


def tree_drawing(nodes: Sequence[TreeNode]) -> str:
    """An SVG in the page's own colors; empty where there is nothing to draw."""
    roots = [box for box in _boxes(nodes) if box is not None]
    if not roots:
        return ""
    num_rows = sum(_rows(root) for root in roots)
    row = 0.0
    for root in roots:
        row = _lay_out(root, 0, row, on_top=num_rows > _TALL)
    boxes = [box for root in roots for box in _all(root)]
    columns = 1 + max(box.place[0] for box in boxes)
    width = columns * _WIDTH + (columns - 1) * _GAP + 4
    height = round(row * _PITCH - (_PITCH - _HEIGHT) + 4)
    edges = "".join(_edge(box, child) for box in boxes for child in box.children)
    return (
        f'<svg class="drawing" role="img" aria-label="the tree of the run" '
        f'viewBox="-2 -2 {width} {height}" width="{width}" height="{height}" '
        f'style="min-width:{width * _SMALLEST:.0f}px">'
        f"{edges}{''.join(map(_drawn, boxes))}</svg>"
    )


# -- which boxes ---------------------------------------------------------------------------------


def _boxes(nodes: Sequence[TreeNode]) -> Iterator[Box]:
    names = {node.name for node in nodes}
    hubs = {node.parent for node in nodes} | {""}
    leaves = [node for node in nodes if node.name not in hubs and node.parent in names]
    parents = {node.parent for node in leaves}
    quota = max(2, MOST_LEAVES // max(1, len(parents))) if len(leaves) > MOST_LEAVES else math.inf
    for node in nodes:
        if node.parent not in names:
            yield _box(node, nodes, quota)


def _box(node: TreeNode, nodes: Sequence[TreeNode], quota: float) -> Box:
    below = [child for child in nodes if child.parent == node.name and child is not node]
    box = Box(node, _worker_lines(node) if node.is_worker else _hub_lines(node))
    parents = {child.parent for child in nodes}
    inner = [child for child in below if child.name in parents]
    leaves = [child for child in below if child.name not in parents]
    box.children = [_box(child, nodes, quota) for child in inner]
    if len(leaves) <= quota:
        box.children += [_box(child, nodes, quota) for child in leaves]
        return box
    odd_first = sorted(leaves, key=lambda n: (n.state in USUAL, _pace(n)))
    shown = odd_first[: int(quota) - 1]
    box.children += [_box(child, nodes, quota) for child in shown]
    box.children.append(_rest(node, [n for n in leaves if n not in shown]))
    return box


def _rest(parent: TreeNode, left_out: Sequence[TreeNode]) -> Box:
    paces = [node.steps_per_s for node in left_out if math.isfinite(node.steps_per_s)]
    spread = f"{number(min(paces))} to {number(max(paces))} steps/s" if paces else ""
    name = f"{len(left_out):,} more"
    return Box(
        TreeNode(name=name, parent=parent.name), (spread, "in the table below"), is_rest=True
    )


def _pace(node: TreeNode) -> float:
    return node.steps_per_s if math.isfinite(node.steps_per_s) else math.inf


def _hub_lines(node: TreeNode) -> tuple[str, str]:
    """What it has taken in, and how far it is from its parent."""
    if node.state not in USUAL:
        return node.state, ""
    first = _joined(f"version {short(node.version)}", _said(node.exchanges_per_s, "{} pushes/s"))
    if not math.isfinite(node.distance):
        return first, _said(node.moving_rate, "moving rate {}")
    stale, rate = _said(node.staleness, "stale {}"), _said(node.moving_rate, "rate {}")
    return first, _joined(f"dist. {number(node.distance)}", stale, rate)


def _worker_lines(node: TreeNode) -> tuple[str, str]:
    if node.state not in USUAL:
        return node.state, f"{count(node.version, 'step')} so far" if node.version else ""
    first = _joined(_said(node.steps_per_s, "{} steps/s"), _said(node.loss, "loss {}"))
    second = _joined(_said(node.distance, "distance {}"), _said(node.staleness, "stale {}"))
    return first or f"{count(node.version, 'step')}", second


def _said(value: float, form: str) -> str:
    return form.format(number(value)) if math.isfinite(value) else ""


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))


# -- where and how -------------------------------------------------------------------------------


def _rows(box: Box) -> int:
    return sum(map(_rows, box.children)) or 1


def _lay_out(box: Box, column: int, row: float, *, on_top: bool) -> float:
    """Place a box and all below it from ``row`` on; returns the next free row.

    Beside the middle of its children, or ``on_top``, where one looks at a tall drawing first.
    """
    if not box.children:
        box.place = column, row
        return row + 1
    after = row
    for child in box.children:
        after = _lay_out(child, column + 1, after, on_top=on_top)
    first, last = box.children[0].place[1], box.children[-1].place[1]
    box.place = column, first if on_top else (first + last) / 2
    return after


def _all(box: Box) -> Iterator[Box]:
    yield box
    for child in box.children:
        yield from _all(child)


def _corner(box: Box) -> tuple[float, float]:
    column, row = box.place
    return column * (_WIDTH + _GAP), row * _PITCH


def _edge(parent: Box, child: Box) -> str:
    (x0, y0), (x1, y1) = _corner(parent), _corner(child)
    x0, y0, y1 = x0 + _WIDTH, y0 + _HEIGHT / 2, y1 + _HEIGHT / 2
    middle = (x0 + x1) / 2
    kind = "edge broken" if _color(child.node) == "bad" else "edge"
    bend = f"M{x0:g} {y0:g}C{middle:g} {y0:g} {middle:g} {y1:g} {x1:g} {y1:g}"
    return f'<path class="{kind}" d="{bend}"/>'


def _color(node: TreeNode) -> str:
    return _COLORS.get(node.state, "bad")


def _drawn(box: Box) -> str:
    x, y = _corner(box)
    node, (first, second) = box.node, box.lines
    kind = "rest" if box.is_rest else _color(node)
    hint = f"<title>{text(node.name)}: {text(_joined(node.state, first, second))}</title>"
    dot = "" if box.is_rest else f'<circle class="{kind}" cx="{x + 16:g}" cy="{y + 16:g}" r="4.5"/>'
    at = x + (14 if box.is_rest else 28)
    return (
        f'<g class="node {kind}">{hint}'
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>{dot}'
        f'<text class="name" x="{at:g}" y="{y + 20.5:g}">{text(shortened(node.name, _NAME))}</text>'
        f'<text x="{x + 14:g}" y="{y + 36:g}">{text(shortened(first, _LINE))}</text>'
        f'<text x="{x + 14:g}" y="{y + 50:g}">{text(shortened(second, _LINE))}</text></g>'
    )
