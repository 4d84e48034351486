"""``benchmark tree``: hosts around a switch, bytes counted on their wires, and nothing left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from actors.benchmark.namespaces import Host, bytes_received, switched_hosts
from actors.benchmark.tree import TreeOptions
from ray_easgd.cli import main
from ray_easgd.config import Config
from ray_easgd.recipe import algorithm_of

needs_namespaces = [
    pytest.mark.chaos,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(
        not (shutil.which("ip") and shutil.which("tc")), reason="ip and tc (iproute2) are missing"
    ),
]

SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000)) as there:
    there.sendall(bytes(int(sys.argv[2])))
    there.shutdown(socket.SHUT_WR)
    there.recv(1)
"""
TAKE = """
import socket, sys
with socket.create_server((sys.argv[1], 7000)) as server:
    print("ready", flush=True)
    there = server.accept()[0]
    while there.recv(1 << 16):
        pass
"""


def namespaces() -> set[str]:
    done = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in done.stdout.splitlines()}


def send(one: Host, other: Host, number: int) -> None:
    take = other.command(sys.executable, "-c", TAKE, other.address)
    with subprocess.Popen(take, stdout=subprocess.PIPE, text=True) as taker:
        assert taker.stdout is not None
        assert taker.stdout.readline() == "ready\n"
        words = (sys.executable, "-c", SEND, other.address, str(number))
        subprocess.run(one.command(*words), check=True)


@pytest.mark.parametrize("marks", [pytest.param(None, marks=needs_namespaces)])
def test_a_byte_between_hosts_is_counted_once_where_it_arrives(marks: None) -> None:
    before = namespaces()
    with switched_hosts(3) as hosts:
        assert len(namespaces() - before) == 4, "the switch has one too"
        counts = [bytes_received(host) for host in hosts]
        send(hosts[0], hosts[2], 1_000_000)
        first, second, third = (
            bytes_received(host) - count for host, count in zip(hosts, counts, strict=True)
        )
        assert 1_000_000 < third < 1_100_000, "and what TCP adds"
        assert first < 100_000, "what TCP answers"
        assert second < 2_000, "a switch, not a hub"
    assert namespaces() == before


def test_both_fleets_are_what_they_are_said_to_be() -> None:
    options = TreeOptions(nodes=3, workers=2)
    for levels in (options.flat, options.tree):
        config = Config.build(options.config | {"topology": {"levels": levels}})
        algorithm_of(config)  # nothing is refused
        assert config.fleet.bounds == (6, 6)
        assert config.topology.levels[-1].period == options.period
    assert [level.placement for level in config.topology.levels] == ["node", "free"]


def test_one_node_has_no_link() -> None:
    result = CliRunner().invoke(main, ["benchmark", "tree", "--nodes", "1"])
    assert result.exit_code == 2
    assert "--nodes = 1: there is no link on one node. Take 2 or more." in result.stderr


@pytest.mark.long
@pytest.mark.parametrize("marks", [pytest.param(None, marks=needs_namespaces)])
def test_a_tree_sends_less_between_nodes_and_leaves_nothing(marks: None) -> None:
    command = [sys.executable, "-m", "ray_easgd.cli", "benchmark", "tree"]
    small = ["--nodes", "2", "--samples", "40000", "--data", "digits", "--json"]
    process = subprocess.Popen(
        [*command, *small], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    output, complaint = process.communicate()
    assert process.returncode == 0, complaint
    ended = json.loads(output.splitlines()[-1])
    assert 0 < ended["bytes_between_nodes"] < ended["flat_bytes_between_nodes"]
    assert ended["bytes_ratio"] > 2
    assert min(ended["test_accuracy"], ended["flat_test_accuracy"]) > 0.8
    assert [name for name in namespaces() if name.endswith(f"-{process.pid}")] == []
    assert list(Path("/tmp").glob(f"easgd-tree-{process.pid}-*")) == []
