"""A run's live page on a real cluster: it is there while the run is, and gone with it."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import ray
from click.testing import CliRunner
from ray.exceptions import ActorDiedError, ActorUnavailableError

from actors.controller import start_controller
from actors.lifecycle import end_process
from actors.page import end_page
from ray_easgd.cli import main
from ray_easgd.run_folder import Event, Metric, RunFolder
from tests.conftest import Pool

pytestmark = pytest.mark.cluster


def names() -> set[str]:
    return set(ray.util.list_named_actors())


def command(*words: str) -> dict[str, object]:
    result = CliRunner().invoke(main, ["dashboard", "live", *words, "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_a_run_serves_its_page_until_it_ends(pool: Pool, tmp_path: Path) -> None:
    with RunFolder.create(str(tmp_path), "watched") as folder:
        event = Event(time_s=1.0, kind="started", source="driver", message="2 <w>", details={})
        folder.write_events([event])
        metric = Metric(time_s=1.0, samples=8, source="w", step=1, name="val_accuracy", value=0.75)
        folder.write_metrics([metric])
    controller = start_controller(
        "watched", (pool.center,), total_samples=1000, bounded=True, folder=folder.path
    )
    link = command("watched")
    assert link == command("watched")  # found, not started again
    assert "watched:page" in names()
    with urlopen(str(link["url"])) as answer:
        page = answer.read().decode()
    assert "of 1,000 samples" in page
    assert "2 &lt;w&gt;" in page
    assert f"{folder.path}/report.html" in page
    host, port = str(link["host"]), int(str(link["port"]))
    assert status(host, port, "/") == 401
    end_page("watched")  # as the run's end does, first of all
    end_process(controller)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, port))


def status(host: str, port: int, path: str) -> int:
    connection = HTTPConnection(host, port, timeout=60)
    connection.request("GET", path)
    return connection.getresponse().status


def opens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except ConnectionError:
        return False
    return True


def is_there(page: Any) -> bool:
    try:
        ray.get(page.node.remote())
    except ActorDiedError:
        return False
    except ActorUnavailableError:
        pass
    return True


def test_a_page_ends_with_the_controller_that_owns_it(pool: Pool, tmp_path: Path) -> None:
    """Also where nobody says goodbye: the driver was killed, say."""
    controller = start_controller("orphan", (pool.center,), total_samples=None, bounded=False)
    link = command("orphan")
    page = ray.get_actor("orphan:page")
    end_process(controller)
    while is_there(page) or opens(str(link["host"]), int(str(link["port"]))):
        pass  # until the test's time is up
