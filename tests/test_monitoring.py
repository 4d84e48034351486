"""A run on a head of its own is seen by Prometheus, and the board by whoever provisions it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from click.testing import CliRunner

from ray_easgd.cli import main
from ray_easgd.dashboard import ALERTS, BOARD
from ray_easgd.dashboard.board import UID
from ray_easgd.series import SERIES
from tests.head import Head, head

ROOT = Path(__file__).parents[1]
_LOOK_EVERY_S = 0.5

PROMETHEUS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{alerts}"]
scrape_configs:
  - job_name: ray
    file_sd_configs: [{{files: ["{targets}"]}}]
"""


def eventually(found: Callable[[], bool], runs: subprocess.Popen[Any]) -> bool:
    """Look until it is found; False where the process ends before. The test's timeout ends it."""
    while not found():
        if runs.poll() is not None:
            return False
        threading.Event().wait(_LOOK_EVERY_S)
    return True


@contextmanager
def process(log: Path, *words: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Ended with the block, by SIGTERM as a supervisor does it."""
    with log.open("wb") as out:
        running = subprocess.Popen(
            words, env=os.environ | environment, stdout=out, stderr=out, cwd=ROOT
        )
        try:
            yield running
        finally:
            running.terminate()
            running.wait()


@pytest.fixture(scope="module")
def ray_head() -> Iterator[Head]:
    with head(num_cpus=4, settings={"RAY_metrics_report_interval_ms": "1000"}) as started:
        yield started


@pytest.fixture(scope="module")
def run(
    ray_head: Head, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[subprocess.Popen[bytes]]:
    """One worker under an aggregator, so that there are two levels; it goes on until ended."""
    folder = tmp_path_factory.mktemp("run")
    words = [
        *("run.name=watched", f"run.storage={folder}", f"address={ray_head.address}"),
        *("fleet.workers=1", "fleet.spares=0", "fleet.price_per_hour=2", "stop.seconds=600"),
        "topology.levels=[{fan_out: 1, period: 4}, {fan_out: 1, period: 4}]",
        "evaluation.interval_s=1",
    ]
    train = (sys.executable, "-m", "ray_easgd.cli", "train", *words)
    with process(folder / "log", *train, **ray_head.environment) as running:
        yield running
        assert running.poll() is None, (folder / "log").read_text("utf-8")
    assert "Traceback" not in (log := (folder / "log").read_text("utf-8")), log


@pytest.mark.cluster
def test_the_metrics_endpoint_shows_each_series_of_the_table(
    ray_head: Head, run: subprocess.Popen[bytes]
) -> None:
    def shown() -> set[str]:
        return set(
            re.findall(r'^(ray_easgd_\w+)\{.*run="watched"', ray_head.metrics(), re.MULTILINE)
        )

    assert eventually(lambda: {s.exported for s in SERIES} <= shown(), run)
    of_levels = re.findall(
        r'^ray_easgd_exchange_s\{.*level="(\d)"', ray_head.metrics(), re.MULTILINE
    )
    assert sorted(of_levels) == ["0", "1"]


@pytest.mark.cluster
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not here")
def test_prometheus_scrapes_it_and_each_panel_and_alert_has_an_answer(
    ray_head: Head, run: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    config = PROMETHEUS.format(alerts=ALERTS, targets=ray_head.targets_path)
    (tmp_path / "prometheus.yml").write_text(config, "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{free.getsockname()[1]}"
    serve = (
        *("prometheus", f"--config.file={tmp_path}/prometheus.yml"),
        *(f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address={at}"),
    )

    def ask(path: str, **words: str) -> Any:
        with urlopen(f"http://{at}/api/v1/{path}?{urlencode(words)}", timeout=30) as answer:
            return json.loads(answer.read())["data"]

    def answered(query: str) -> bool:
        try:
            return bool(ask("query", query=query.replace("$run", "watched"))["result"])
        except URLError:
            return False  # it is not up yet

    panels = json.loads(BOARD.read_text("utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    with process(tmp_path / "log", *serve) as server:
        for query in queries:
            assert eventually(lambda query=query: answered(query), server), query  # type: ignore[misc]
        evaluated: list[dict[str, Any]] = []

        def are_evaluated() -> bool:
            evaluated[:] = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
            return all(rule["health"] != "unknown" for rule in evaluated)

        assert eventually(are_evaluated, server)
    assert run.poll() is None
    assert len(evaluated) == 4
    assert not [rule for rule in evaluated if rule["health"] != "ok" or rule.get("lastError")]


@pytest.mark.cluster
def test_the_board_is_put_beside_those_that_ray_itself_provisions(
    ray_head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray").symlink_to(ray_head.folder)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    done = CliRunner().invoke(main, ["dashboard", "install", "--json"])
    assert done.exit_code == 0, done.output
    put = Path(json.loads(done.output.splitlines()[-1])["board"])
    assert json.loads(put.read_text("utf-8"))["uid"] == UID
    assert (put.parent / "default_grafana_dashboard.json").exists()
    provisioning = put.parents[1] / "provisioning" / "dashboards" / "default.yml"
    assert str(put.parent.resolve()) in provisioning.read_text("utf-8")


def test_without_a_session_it_says_where_to_put_the_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    done = CliRunner().invoke(main, ["dashboard", "install"])
    assert done.exit_code == 2
    assert "--to FOLDER" in done.output
    assert "ray start --head" in done.output


def test_a_folder_may_be_given_and_the_rules_come_with_the_line_that_loads_them(
    tmp_path: Path,
) -> None:
    done = CliRunner().invoke(main, ["dashboard", "install", "--to", str(tmp_path / "boards")])
    assert done.exit_code == 0
    rules = tmp_path / "boards" / "ray_easgd_alerts.yml"
    assert rules.read_bytes() == ALERTS.read_bytes()
    assert f'rule_files: ["{rules}"]' in done.output


def test_a_folder_that_cannot_be_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    done = CliRunner().invoke(main, ["dashboard", "install", "--to", str(tmp_path / "file")])
    assert done.exit_code == 2
    assert "--to" in done.output
