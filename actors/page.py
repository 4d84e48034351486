"""The live page's process: renders a run from its own status, whenever somebody looks."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from actors.lifecycle import as_actor, end_process, on
from ray_easgd.errors import BadStorage

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.controller import Controller
    from actors.status import RunStatus
    from ray_easgd.display.tree import TreeNode
    from ray_easgd.page_server import PageServer
    from ray_easgd.report.live import LiveRun, Measured
    from ray_easgd.run_folder import RunFolder

_PAGE = ":page"
_ANSWER_S = 5.0
_SHARE = 0.05  # of the time that plots may be in the making
_SELDOM_S = 5.0  # the metrics' files come as often
_SILENT_S, _SILENT_STEPS = 10.0, 5
_PACE_OVER_S = 60.0
_LOWEST = 19  # priority: what trains on this machine comes first


class Page:
    """The actor behind ``ray-easgd dashboard live``. While nobody looks it does nothing.

    ``folder`` is read where it can be reached from here; without it the page shows what the
    actors say, and no plots.
    """

    def __init__(self, run: str, folder: str, controller: ActorProxy[Controller]) -> None:
        os.nice(_LOWEST)
        self._run, self._path, self._controller = run, folder, controller
        self._server: PageServer | None = None
        self._host = ""
        self._status: RunStatus | None = None
        self._pace, self._news = Pace(), News()
        self._measurer = Measurer()

    def __repr__(self) -> str:
        return f"Page({self._run})"

    @ray.method
    def open(self, host: str, port: int) -> tuple[str, int, str]:
        """Where the page is, from now on: host, port, token. An open one stays as it is."""
        from ray_easgd.page_server import PageServer
        from ray_easgd.report.live import policy

        if self._server is None:
            self._server = PageServer(self._render, policy=policy(), host=host, port=port)
            self._host = host
        everywhere = self._host in {"", "0.0.0.0", "::"}
        shown = ray.util.get_node_ip_address() if everywhere else self._host
        return shown, self._server.port, self._server.token

    @ray.method
    def node(self) -> str:
        """The address of the machine it is on."""
        return str(ray.util.get_node_ip_address())

    @ray.method(max_task_retries=0)
    def end(self) -> None:
        """Tell who looks that the run has ended, and give the port back."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _render(self) -> str:
        from ray_easgd.report.live import render_live

        return render_live(self._look())

    def _look(self) -> LiveRun:
        from actors.status import read
        from ray_easgd.report.live import LiveRun

        now, note, stale = time.monotonic(), "", False
        try:
            self._status = read(self._run, self._controller, within_s=_ANSWER_S)
        except RayError:
            note, stale = _SILENT_CONTROLLER, True
        status = self._status
        folder, events, config = self._kept()
        if folder is None:
            note = note or f"{self._path} cannot be read from here: no plots and no events."
        if status is not None and not stale:
            self._pace.note(now, status.samples)
        return LiveRun(
            name=self._run,
            path=self._path,
            nodes=self._news.told(status.tree, now) if status else (),
            samples=status.samples if status else 0,
            total_samples=status.total_samples if status else None,
            samples_per_s=self._pace.per_s,
            time_s=clock(events),
            measured=self._measurer.newest(folder) if folder else None,
            events=events,
            config=config,
            note=note,
            is_stale=stale,
        )

    def _kept(self) -> tuple[RunFolder | None, list[dict[str, Any]], str]:
        """The folder, its events and its configuration; None and nothing where it is not here."""
        from ray_easgd.run_folder import RunFolder

        try:
            folder = RunFolder.open(self._path)
            return folder, folder.read_events(), folder.read_config()
        except (BadStorage, OSError):
            return None, [], ""


_SILENT_CONTROLLER = (
    "The controller gives no answer just now; training does not need it. What is below is the "
    "last that was seen."
)


class Pace:
    """Samples a second, over the last minute of looks."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, now: float, samples: int) -> None:
        self._seen.append((now, samples))
        while now - self._seen[0][0] > _PACE_OVER_S and len(self._seen) > 2:
            self._seen.popleft()

    @property
    def per_s(self) -> float:
        """NaN before there have been two looks."""
        if len(self._seen) < 2:
            return math.nan
        (t0, n0), (t1, n1) = self._seen[0], self._seen[-1]
        return max(0.0, (n1 - n0) / (t1 - t0)) if t1 > t0 else math.nan


class News:
    """Notices whose word does not change: a worker that steps is heard of each half second."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float]] = {}

    def told(self, nodes: tuple[TreeNode, ...], now: float) -> tuple[TreeNode, ...]:
        """The nodes, workers that are silent marked as such.

        Before anybody has stepped a hub without an answer is one that is starting.
        """
        if not any(node.version for node in nodes):
            return tuple(replace(n, state="starting") if n.state else n for n in nodes)
        return tuple(self._told(node, now) if node.state == "training" else node for node in nodes)

    def _told(self, node: TreeNode, now: float) -> TreeNode:
        step, since = self._last.get(node.name, (-1, now))
        if step != node.version:
            since = now
        self._last[node.name] = node.version, since
        usual_s = _SILENT_STEPS / node.steps_per_s if node.steps_per_s > 0 else 0.0
        silent_s = now - since
        if silent_s < max(_SILENT_S, usual_s):
            return node
        return replace(node, state=f"no news for {silent_s:.0f} s")


class Measurer:
    """Reads the metrics and draws the plots, apart from who asks and only a share of the time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._busy, self._after = False, -math.inf
        self._tables: list[Any] = []
        self._parts = 0
        self._made_at = 0.0
        self._made: Measured | None = None

    def newest(self, folder: RunFolder) -> Measured | None:
        """What was drawn last; another round begins if one is due."""
        with self._lock:
            now = time.monotonic()
            if not self._busy and now >= self._after:
                self._busy = True
                Thread(target=self._measure, args=(folder,), daemon=True).start()
            made = self._made
        return None if made is None else replace(made, age_s=now - self._made_at)

    def _measure(self, folder: RunFolder) -> None:
        began = time.monotonic()
        made = None
        try:
            with suppress(OSError):  # the storage is out of reach: next time
                made = self._draw(folder)
        finally:
            with self._lock:
                now = self._made_at = time.monotonic()
                self._made = made or self._made
                self._after = now + max(_SELDOM_S, (now - began) * (1 / _SHARE - 1))
                self._busy = False

    def _draw(self, folder: RunFolder) -> Measured:
        import pyarrow

        from ray_easgd.report.live import Measured
        from ray_easgd.report.numbers import Numbers
        from ray_easgd.report.plots import all_plots

        parts = folder.num_parts
        self._tables.append(folder.read_metrics(slice(self._parts, parts)))
        self._parts = parts
        self._tables = [pyarrow.concat_tables(self._tables)]
        numbers = Numbers(self._tables[0])
        facts: Mapping[str, Any] = {
            "val_accuracy": numbers.last("val_accuracy"),
            "best_val_accuracy": numbers.highest("val_accuracy"),
        }
        return Measured(facts=facts, plots=all_plots(numbers))


def clock(events: list[dict[str, Any]]) -> float:
    """How far the run's own clock is, by the newest event's two times; NaN where there is none."""
    if not events:
        return math.nan
    then = datetime.fromisoformat(events[-1]["time"]).timestamp()
    return float(events[-1]["time_s"] + max(0.0, time.time() - then))


def start_page(
    run: str, folder: str, controller: ActorProxy[Controller], *, node: str
) -> ActorProxy[Page]:
    """Start the page's actor, on the driver's node, where the folder is.

    ``max_restarts=-1``: one that died is there again, and opens anew when it is asked for.
    """
    return as_actor(
        Page,
        name=run + _PAGE,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=1,
        scheduling_strategy=on(node),
    ).remote(run, folder, controller)


def end_page(run: str) -> None:
    """End a run's page, if it has one. One that does not answer is not waited for."""
    try:
        page = ray.get_actor(run + _PAGE)
    except (ValueError, RayError):
        return
    ray.wait([page.end.remote()], timeout=_ANSWER_S / 2)
    end_process(page)
