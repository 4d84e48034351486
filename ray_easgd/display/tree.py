"""A tree of hubs and workers, drawn line by line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = ("version", "exchanges/s", "moving rate", "staleness", "distance")


USUAL = {"", "training", "done"}  # states that go without saying


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeNode:
    """A hub or a worker as of its latest word. NaN is a number it has not, or not yet.

    ``version``: pushes a hub has applied, gradient steps of a worker; ``exchanges_per_s`` with its
    children, of a worker with its hub. ``staleness`` in versions of the parent, and ``distance`` to
    it as the Euclidean norm, at its latest exchange. ``steps_per_s`` and ``loss`` of a worker.
    """

    name: str
    parent: str
    version: int = 0
    exchanges_per_s: float = math.nan
    moving_rate: float = math.nan
    staleness: float = math.nan
    distance: float = math.nan
    state: str = ""
    steps_per_s: float = math.nan
    loss: float = math.nan
    is_worker: bool = False


def from_json(known: Mapping[str, Any]) -> TreeNode:
    """A node as JSON keeps it, with null for NaN."""
    given: dict[str, Any] = {k: math.nan if v is None else v for k, v in known.items()}
    return TreeNode(**given)


def drawn(nodes: Iterable[TreeNode]) -> Iterator[tuple[str, TreeNode]]:
    """The nodes depth first, each with the lines that lead to it: ``│  ├─ ``."""
    nodes = list(nodes)
    names = {node.name for node in nodes}
    for node in nodes:
        if node.parent not in names:
            yield "", node
            yield from _below(node, nodes, "")


def _below(
    parent: TreeNode, nodes: Sequence[TreeNode], lead: str
) -> Iterator[tuple[str, TreeNode]]:
    children = [node for node in nodes if node.parent == parent.name]
    for node in children:
        is_last = node is children[-1]
        yield lead + ("└─ " if is_last else "├─ "), node
        yield from _below(node, nodes, lead + ("   " if is_last else "│  "))


def cells(node: TreeNode) -> tuple[str, ...]:
    """Under the ``HEADINGS``; a dash where there is nothing to say."""
    return (
        f"{node.version:,}",
        _number(node.exchanges_per_s, ",.1f"),
        _number(node.moving_rate, ".4g"),
        _number(node.staleness, ".1f"),
        _number(node.distance, ".3g"),
    )


def as_table(nodes: Iterable[TreeNode]) -> Table:
    """For a terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("tree", no_wrap=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for lead, node in drawn(nodes):
        words = lead + node.name + (f" ({node.state})" if node.state not in USUAL else "")
        table.add_row(words, *cells(node))
    return table


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"
