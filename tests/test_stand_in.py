"""What stands in for a Ray node's agents: as a process, and below a real node."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from actors import stand_in

_WAIT_S = 60.0
_TOLD_BY_PIPE = "RAY_enable_pipe_based_agent_to_parent_health_check"


def start(
    session: Path,
    *words: str,
    told: Sequence[str] = ("--node-ip-address=127.0.0.1",),
    environment: Mapping[str, str] = {_TOLD_BY_PIPE: "1"},
) -> subprocess.Popen[str]:
    """With a program for the agent's that says how it was called."""
    agent = "import sys; print('agent', *sys.argv[1:], flush=True); sys.stdin.read()"
    command = (sys.executable, "-c", agent, f"--session-dir={session}", "--node-id=n")
    return subprocess.Popen(
        [sys.executable, "-S", "-E", "-P", stand_in.__file__, *command, *told, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def published(session: Path, name: str) -> int:
    path, until = session / f"{name}_n", time.monotonic() + _WAIT_S
    while not path.exists():
        assert time.monotonic() < until, "nothing was published"
        time.sleep(0.01)
    return int(path.read_text("ascii"))


def end(process: subprocess.Popen[str]) -> str:
    """As the raylet does by ending; what the process had said."""
    said, _ = process.communicate(timeout=_WAIT_S)
    return said


def test_the_dashboards_agent_is_not_to_be_had(tmp_path: Path) -> None:
    process = start(tmp_path, "--grpc-port=0")
    for name in ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port"):
        assert published(tmp_path, name) == -1
    assert end(process) == ""
    assert process.returncode == 0


def test_the_agent_for_environments_comes_when_it_is_called(tmp_path: Path) -> None:
    process = start(tmp_path, "--runtime-env-agent-port=0")
    port = published(tmp_path, "runtime_env_agent_port")
    assert process.stdout is not None
    with socket.create_connection(("127.0.0.1", port)):
        said = process.stdout.readline().split()
    end(process)
    assert said[0] == "agent"
    assert said[-1] == f"--runtime-env-agent-port={port}"  # argparse takes the last


def test_an_agent_that_nobody_calls_ends_with_its_node(tmp_path: Path) -> None:
    process = start(tmp_path, "--runtime-env-agent-port=0")
    published(tmp_path, "runtime_env_agent_port")
    assert end(process) == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, ["--node-ip-address=127.0.0.1"]),  # it would not learn of its node's end
        ({_TOLD_BY_PIPE: "1"}, []),  # nor where to listen
        ({_TOLD_BY_PIPE: "1"}, ["--node-ip-address=no address"]),
    ],
)
def test_where_things_are_not_as_known_the_agent_is_started_at_once(
    tmp_path: Path, environment: dict[str, str], told: list[str]
) -> None:
    process = start(tmp_path, "--runtime-env-agent-port=0", told=told, environment=environment)
    assert process.stdout is not None
    assert process.stdout.readline().split()[0] == "agent"
    end(process)


@pytest.mark.cluster
def test_a_task_on_a_node_of_ours_may_have_an_environment_of_its_own(cluster: None) -> None:
    import ray

    @ray.remote(num_cpus=0)
    def told() -> str:
        return os.environ["TOLD"]

    asked = told.options(runtime_env={"env_vars": {"TOLD": "this"}}).remote()
    assert ray.get(asked) == "this"
