"""A tree drawn for people: in the terminal, live, and in the report."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ray_easgd.display.live import LiveDisplay
from ray_easgd.display.tree import TreeNode, as_table, drawn
from ray_easgd.report import write_report
from ray_easgd.run_folder import RunFolder
from ray_easgd.strict_json import dumps
from tests.test_display import PROGRESS

TREE = (
    TreeNode(name="center", parent="", version=1200, exchanges_per_s=3.25, moving_rate=0.45),
    TreeNode(name="aggregator-1-0", parent="center", version=9600, staleness=2, distance=1.5),
    TreeNode(name="aggregator-1-1", parent="center", state="no answer within 5 s"),
    TreeNode(name="worker-0", parent="aggregator-1-0", version=77),
    TreeNode(name="worker-1", parent="aggregator-1-1"),
)


def printed(tree: Any) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(tree)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_lines_lead_from_each_hub_to_its_children() -> None:
    assert [lead + node.name for lead, node in drawn(TREE)] == [
        "center",
        "├─ aggregator-1-0",
        "│  └─ worker-0",
        "└─ aggregator-1-1",
        "   └─ worker-1",
    ]


def test_the_table_says_what_is_known_and_dashes_what_is_not() -> None:
    lines = [line.split() for line in printed(as_table(TREE)).splitlines() if line.strip()]
    assert lines[0] == ["tree", "version", "exchanges/s", "moving", "rate", "staleness", "distance"]
    assert ["center", "1,200", "3.2", "0.45", "-", "-"] in lines
    assert ["├─", "aggregator-1-0", "9,600", "-", "-", "2.0", "1.5"] in lines
    assert any("(no answer within 5 s)" in " ".join(line) for line in lines)


parents = st.lists(st.integers(0, 30), max_size=30)


@given(parents)
def test_every_node_is_drawn_once_below_its_parent(choices: list[int]) -> None:
    """Also one whose parent is not known yet."""
    nodes = [
        TreeNode(name=str(k), parent=str(choice % (k + 1) if choice % 7 else f"lost-{k}"))
        for k, choice in enumerate(choices)
        if choice % (k + 1) != k or not choice % 7
    ]
    order = [node.name for _, node in drawn(nodes)]
    assert sorted(order) == sorted(node.name for node in nodes)
    for node in nodes:
        if node.parent in order:
            assert order.index(node.parent) < order.index(node.name)


def test_the_live_display_shows_the_hubs_of_a_tree_only() -> None:
    def shown(progress: Any) -> str:
        console = Console(file=io.StringIO(), width=120, height=40, force_terminal=True)
        with LiveDisplay(console) as display:
            display.update(progress)
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    assert "aggregator-1-0" in shown(replace(PROGRESS, hubs=TREE[:3]))
    assert "exchanges/s" not in shown(PROGRESS)


def test_the_report_draws_the_tree_of_the_result(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "r")
    nodes = [asdict(node) for node in TREE]
    nodes[2]["name"] = "<aggregator>"
    folder.write_result(json.loads(dumps({"status": "finished", "tree": nodes})))
    page = Path(write_report(folder)).read_text("utf-8")
    assert "<h2>Tree</h2>" in page
    assert "├─ aggregator-1-0" in page
    assert "│  └─ worker-0" in page
    assert "&lt;aggregator&gt;" in page
    assert "nan" not in page
