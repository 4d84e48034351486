"""Runs as jobs of a real head with token authentication, as `docs/cluster.md` tells it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actors.job_server import JobServer
from ray_easgd.cli import main
from tests.head import ROOT, Head, head

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

PAGE = (ROOT / "docs" / "cluster.md").read_text("utf-8")
LAPTOP = PAGE.partition("## On a laptop")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```console\n(.*?)```", LAPTOP, re.DOTALL)
LINES = [shlex.split(line) for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]


@pytest.fixture(scope="module")
def ray_head() -> Iterator[Head]:
    with head() as started:
        yield started


@pytest.fixture
def there(ray_head: Head, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Head:
    """The head, as the environment of whoever submits to it names it."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", ray_head.dashboard)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(ray_head.token_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(ROOT)
    return ray_head


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def answer(*words: str) -> Any:
    """The JSON object that a command ends with."""
    return json.loads(run(*words, "--json").stdout.splitlines()[-1])


class Seen(Exception):
    """What was waited for is there."""


def until_training(line: str) -> None:
    if "  training  " in line:
        raise Seen


def actors_of(ray_head: Head, name: str) -> dict[str, dict[str, Any]]:
    """A run's actors by their names, as the dashboard lists them."""
    listed = ray_head.ask("/logical/actors?nocache=1")["data"]["actors"].values()
    return {a["name"]: a for a in listed if (a["name"] or "").startswith(f"{name}:")}


def test_the_page_starts_its_head_with_options_that_ray_knows() -> None:
    from ray.scripts.scripts import start

    (words,) = [line for line in LINES if "start" in line]
    begin = words.index("start") + 1
    parsed = start.make_context("start", words[begin:]).params
    assert parsed["head"]
    assert "RAY_AUTH_MODE=token" in words


def test_the_pages_job_runs_and_the_dashboard_tells_of_it(there: Head, tmp_path: Path) -> None:
    commands = [line[1:] for line in LINES if line[0] == "ray-easgd"]
    assert [words[0] for words in commands] == ["submit", "list", "logs", "logs"]
    submitted = answer(*commands[0], f"run.storage={tmp_path}")
    assert submitted["state"] == "SUCCEEDED"
    assert submitted["result"]["samples"] >= 30_000
    assert submitted["result"]["path"] == str(tmp_path / "first")

    (listed,) = answer(*commands[1])["runs"]
    assert (listed["run"], listed["state"]) == ("first", "SUCCEEDED")
    assert "jobs.train" in run(*commands[2]).stdout
    assert run(*commands[3]).exit_code == 0

    (job,) = there.ask("/api/jobs/")
    assert job["submission_id"] == "first.1"
    assert job["metadata"]["run.name"] == "first"
    assert job["metadata"]["model"] == "mlp"
    seen = actors_of(there, "first")
    for who, kind in {
        "center": "Center",
        "controller": "Controller",
        "evaluator": "Evaluator",
        "worker-0": "Worker",
        "worker-1": "Worker",
    }.items():
        actor = seen[f"first:{who}"]
        assert actor["reprName"] == f"{who} of run first"
        assert actor["actorClass"].startswith(kind)
        assert actor["state"] == "DEAD"
    assert there.metrics()


@pytest.mark.long
def test_one_run_is_one_job_at_a_time(
    there: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder with a module of the user's own, and nothing else in it."""
    (tmp_path / "mine.py").write_text(
        "import ray_easgd, torch\nprint(ray_easgd.__file__)\n\n\ndef linear(spec):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n",
        "utf-8",
    )
    (tmp_path / "mine.yaml").write_text(
        "{model: mine:linear, run: {name: two}, fleet: {workers: 1, spares: 0}}",
        "utf-8",
    )
    monkeypatch.chdir(tmp_path)
    words = ("submit", "mine.yaml", f"run.storage={tmp_path}")
    first = answer(*words, "stop.seconds=600", "--no-wait")
    assert first["job"] == "two.1"
    assert "job two.1" in run(*words, code=2).stderr

    with pytest.raises(Seen):
        JobServer(None).follow("two.1", until_training)
    tree = answer("status", "two", "--address", there.dashboard)["tree"]
    assert [node["name"] for node in tree] == ["center", "worker-0"]
    seen = answer("doctor", "two", "--address", there.dashboard, "--interval-s=2")
    assert (seen["findings"], seen["steps"]["worker-0"] > 0) == ([], True)
    assert answer("scale", "two", "1", "--address", there.dashboard)["workers"] == 1
    assert answer("stop", "two", "--address", there.dashboard) == {"run": "two"}
    assert answer("logs", "two", "--follow")["state"] == "SUCCEEDED"
    assert "/py_modules_files/" in run("logs", "two").stdout  # where ray_easgd came from
    again = answer(*words, "stop.seconds=1")
    assert again["job"] == "two.2"
    assert again["result"]["resumed_from"].startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("RAY_AUTH_TOKEN", "(403"),
        (None, "there is none here"),  # the head's word for it is 401, or Ray's own does not ask it
    ],
)
def test_who_has_not_the_token_is_told_so(
    there: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, said: str
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    if variable is not None:
        monkeypatch.setenv(variable, "0" * 64)
    message = run("submit", "run.name=never", code=2).stderr
    assert message.startswith("bad input: token = ")
    assert said in message
    assert "RAY_AUTH_TOKEN_PATH names" in message
    assert [job for job in there.ask("/api/jobs/") if "never" in job["entrypoint"]] == []
