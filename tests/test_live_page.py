"""The page of a run that is going on: what it shows, whatever it is given."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.page import News, Pace, clock
from ray_easgd.display.tree import TreeNode
from ray_easgd.report.drawing import MOST_LEAVES, tree_drawing
from ray_easgd.report.live import LiveRun, Measured, policy, render_live
from ray_easgd.report.plots import Plot
from ray_easgd.report.saying import aim, how_it_goes, out_of_the_ordinary

CENTER = TreeNode(name="center", parent="", version=1200, exchanges_per_s=3.25, moving_rate=0.45)


def worker(k: int, hub: str = "center", state: str = "training", pace: float = 4.0) -> TreeNode:
    known = {"version": 77, "steps_per_s": pace, "loss": 0.5} if state != "starting" else {}
    node = TreeNode(name=f"worker-{k}", parent=hub, state=state, is_worker=True)
    return replace(node, **known)  # type: ignore[arg-type]


FLAT = (CENTER, *map(worker, range(3)))
EVENT: dict[str, Any] = {
    "time": "2026-01-01T00:00:09.000+00:00",
    "time_s": 9.0,
    "kind": "worker_lost",
    "source": "driver",
    "message": "worker-2 is lost",
    "details": {},
}


def shown(**known: Any) -> str:
    return render_live(LiveRun(**{"name": "r", "path": "/runs/r", "nodes": FLAT, **known}))


class Tags(HTMLParser):
    """Every tag is closed, in order; scripts and links by name, all text."""

    VOID = ("meta", "link", "rect", "circle", "path")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.all, self.fetched, self.text = [""], list[str](), list[str](), ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append(tag)
        self.fetched += [
            v or "" for name, v in attrs if name in {"src", "href", "srcset", "action"}
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self.open[-1] not in {"script", "style"} else ""


def test_the_page_says_what_goes_on_and_shows_each_node() -> None:
    page = Tags(shown(samples=500, total_samples=2000, samples_per_s=100.0, events=[EVENT]))
    assert page.open == [""]
    assert "3 workers are training, together at 12 gradient steps per second." in page.text
    assert (
        "500 of 2,000 samples (25%); at the present 100 a second the rest takes 15.0 s" in page.text
    )
    assert "worker-2 is lost" in page.text
    for node in FLAT:
        assert node.name in page.text
    assert "training" in page.text


def test_the_page_fetches_nothing_and_runs_its_own_script_alone() -> None:
    page = shown(measured=Measured(plots=[Plot("Loss", "<svg></svg>")]), config="a: 1")
    tags = Tags(page)
    assert tags.fetched == ["data:,"]
    assert tags.all.count("script") == tags.all.count("style") == 1
    for kind in ("script", "style"):
        (inside,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy()
    assert "default-src 'none'" in policy()


hostile = st.text(min_size=1, max_size=12) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "'\"><img src=x onerror=y>",
        "]]>",
        "</title>",
        "{name}",
        "\x00&amp;",
    ]
)


OURS = set(
    re.findall(
        r"\w+",
        "html head meta link noscript title style script body main footer section header h1 h2 p "
        "span div dl dt dd ul ol li time table tr th td code pre svg path g rect circle text",
    )
)


@settings(max_examples=25)
@given(st.lists(hostile, min_size=1, max_size=6, unique=True), hostile, hostile)
def test_names_are_shown_as_they_are_and_never_as_markup(
    names: list[str], message: str, run: str
) -> None:
    nodes = [CENTER, *(TreeNode(name=f"w{n}", parent="center", state=n) for n in names)]
    event = EVENT | {"message": message, "kind": message, "source": message, "details": {"a": run}}
    page = Tags(shown(name=run, path=run, nodes=nodes, events=[event], config=message, note=run))
    assert page.open == [""]
    assert set(page.all) <= OURS
    assert page.fetched == ["data:,"]
    for node in nodes:
        harmless = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in node.name)
        assert harmless in page.text


def texts(svg: str) -> list[str]:
    return re.findall(r'class="name"[^>]*>([^<]*)<', svg)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 30), max_size=25))
def test_every_node_of_a_small_tree_is_drawn_once(choices: list[int]) -> None:
    nodes = [CENTER]
    for k, choice in enumerate(choices):
        nodes.append(TreeNode(name=f"n{k}", parent=nodes[choice % len(nodes)].name))
    svg = tree_drawing(nodes)
    assert sorted(texts(svg)) == sorted(node.name for node in nodes)
    assert svg.count("<path") == len(nodes) - 1
    places = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"', svg)
    assert len(set(places)) == len(nodes)


def test_no_box_lies_over_another() -> None:
    nodes = [CENTER, *(TreeNode(name=f"a{k}", parent="center") for k in range(3))]
    nodes += [worker(k, f"a{k % 3}") for k in range(14)]
    boxes = [
        [float(v) for v in found]
        for found in re.findall(
            r'<rect x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="(\d+)"', tree_drawing(nodes)
        )
    ]
    for i, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[:i]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_of_a_large_fleet_those_in_trouble_are_drawn_and_the_rest_counted() -> None:
    fleet = [worker(k, pace=4 + k / 100) for k in range(100)]
    fleet[50] = worker(50, state="no news for 42 s")
    svg = tree_drawing([CENTER, *fleet])
    names = texts(svg)
    assert len(names) == 1 + MOST_LEAVES
    assert "worker-50" in names
    assert f"{100 - MOST_LEAVES + 1} more" in names
    assert "worker-99" in shown(nodes=[CENTER, *fleet])  # in the table


def test_nothing_is_drawn_of_nothing() -> None:
    assert tree_drawing(()) == ""
    assert "No worker has reported yet" in Tags(shown(nodes=())).text


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([CENTER, worker(0)], r"1 worker is training, at 4 gradient steps"),
        ([CENTER, worker(0, state="starting")], r"1 worker is starting"),
        ([CENTER, worker(0), worker(1, state="starting")], r"worker-1 is starting"),
    ],
)
def test_the_fleet_is_told_in_a_sentence(nodes: Sequence[TreeNode], said: str) -> None:
    assert re.search(said, how_it_goes(nodes, 10, None, math.nan))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("stop:\n  seconds: 120\n", "It ends after 2 min 00 s of training."),
        (
            "stop: {accuracy: 0.95, seconds: 60.0, samples: 10}",
            "It ends after 60.0 s of training or once the held-out accuracy is 95.0%.",
        ),
        ("stop:\n  samples: 10\n", ""),
        ("stop: null", ""),
        ("- 1", ""),
        ("", ""),
    ],
)
def test_the_page_says_what_ends_the_run(config: str, said: str) -> None:
    assert aim(config) == said
    assert said in Tags(shown(config=config)).text


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (worker(9, state="no news for 42 s"), "worker-9: no news for 42 s"),
        (worker(9, state="leaving"), "worker-9 is leaving"),
        (worker(9, pace=1.0), "worker-9 is the slowest, at 1 steps a second"),
        (TreeNode(name="a", parent="center", state="no answer within 5 s"), "a gave no answer"),
        (TreeNode(name="center", parent="", state="no answer within 5 s"), "center gave no answer"),
    ],
)
def test_what_is_out_of_the_ordinary_is_said(odd: TreeNode, said: str) -> None:
    nodes = [n for n in FLAT if n.name != odd.name]
    (sentence,) = out_of_the_ordinary([*nodes, odd])
    assert said in sentence
    assert out_of_the_ordinary(FLAT) == []


def test_a_worker_that_is_silent_is_marked_until_it_steps() -> None:
    news, still = News(), (worker(0), worker(1, pace=0.01))
    assert news.told(still, 0.0) == still
    assert news.told(still, 9.0) == still
    states = [node.state for node in news.told(still, 42.0)]
    assert states == ["no news for 42 s", "training"]  # five steps of the second take 500 s
    moved = (replace(still[0], version=78),)
    assert news.told(moved, 43.0) == moved


def test_a_hub_that_does_not_answer_before_the_first_step_is_starting() -> None:
    silent = TreeNode(name="center", parent="", state="no answer within 5 s")
    assert [node.state for node in News().told((silent,), 0.0)] == ["starting"]
    assert News().told((silent, worker(0)), 0.0)[0] == silent


def test_the_pace_is_that_of_the_last_minute() -> None:
    pace = Pace()
    assert math.isnan(pace.per_s)
    for now, samples in ((0.0, 0), (10.0, 1000), (70.0, 7000), (80.0, 10_000)):
        pace.note(now, samples)
    assert pace.per_s == pytest.approx(300.0)


def test_the_clock_is_the_runs_own() -> None:
    assert math.isnan(clock([]))
    assert clock([EVENT]) >= 9.0
