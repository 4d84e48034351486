"""A hub behind a capped link, between network namespaces that are gone afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors.benchmark.namespaces import linked_hosts

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(
        not (shutil.which("ip") and shutil.which("tc")), reason="ip and tc (iproute2) are missing"
    ),
]

COMMAND = [sys.executable, "-m", "ray_easgd.cli", "benchmark", "exchange", "--link", "1gbit"]
SMALL = ["--n", "50000", "--format", "float32", "--exchanges", "22", "--json"]


def namespaces() -> set[str]:
    done = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in done.stdout.splitlines()}


def started() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *SMALL], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def left_behind(process: subprocess.Popen[str]) -> list[str]:
    """Namespaces of that process, its files, and processes that know of them."""
    own = [name for name in namespaces() if name.endswith(f"-{process.pid}")]
    files = [str(path) for path in Path("/tmp").glob(f"easgd-link-{process.pid}-*")]
    alive = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text()
        except OSError:
            continue
        if f"easgd-link-{process.pid}-" in words:
            alive.append(words)
    return own + files + alive


def test_a_wire_is_up_and_capped_and_its_processes_end_with_it() -> None:
    before = namespaces()
    with linked_hosts("100mbit") as (one, other):
        state = one.command("cat", "/sys/class/net/veth0/operstate")
        assert subprocess.run(state, capture_output=True, text=True, check=True).stdout == "up\n"
        qdisc = subprocess.run(
            other.command("tc", "qdisc", "show", "dev", "veth0"),
            capture_output=True,
            text=True,
            check=True,
        )
        assert "rate 100Mbit" in qdisc.stdout
        assert namespaces() - before == {one.namespace, other.namespace}
        words = one.command("sh", "-c", "echo there; exec sleep 600")
        sleeper = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert sleeper.stdout
        assert sleeper.stdout.readline() == "there\n", "in the namespace, not on its way"
    sleeper.stdout.close()
    assert sleeper.wait() == -signal.SIGKILL
    assert namespaces() == before


@pytest.mark.long
def test_a_row_over_a_link_knows_its_share_of_the_line() -> None:
    process = started()
    output, complaint = process.communicate()
    assert process.returncode == 0, complaint
    (row,) = json.loads(output.splitlines()[-1])["rows"]
    assert 0 < row["line_share"] < 1
    slower = min(row["sent_bytes_per_s"], row["received_bytes_per_s"])
    assert row["line_share"] == pytest.approx(slower / 125e6)
    assert row["step_rate_ratio"] > 0
    assert row["allreduce_ratio"] is None
    assert left_behind(process) == []


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_an_interrupted_link_leaves_nothing(number: int) -> None:
    process = started()
    assert process.stderr is not None
    for line in process.stderr:
        if "over the link" in line:
            break
    process.send_signal(number)
    process.communicate()
    assert process.returncode == 130
    assert left_behind(process) == []
