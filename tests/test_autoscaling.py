"""Workers bring nodes and let them go, on Ray's autoscaler with fake nodes; see autoscaled.py.

Isolated: the play runs in its own process, network and mount namespaces, which end with it.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ray_easgd.run_folder import RunFolder
from tests.autoscaled import MOST_NODES

ROOT = Path(__file__).parents[1]
ALONE = ["unshare", "--pid", "--net", "--mount", "--fork", "--mount-proc", "--kill-child"]
HOUSE = "ip link set lo up && mkdir -p /tmp/ray && mount -t tmpfs none /tmp/ray"


@cache
def why_not() -> str:
    """Why this machine cannot isolate it; empty where it can."""
    missing = [tool for tool in ("unshare", "ip", "mount") if shutil.which(tool) is None]
    if missing:
        return f"the command {' and '.join(missing)} is missing"
    tried = subprocess.run([*ALONE, "sh", "-c", HOUSE], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


pytestmark = [
    pytest.mark.chaos,
    pytest.mark.long,
    pytest.mark.timeout(600),  # it starts nine Ray nodes and three drivers
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := why_not():
        pytest.skip(f"no namespaces here: {reason}")
    made = tmp_path_factory.mktemp("autoscaled")
    play = f"{HOUSE} && exec {sys.executable} -m tests.autoscaled {made}"
    with (made / "log").open("w") as log:
        done = subprocess.run(
            [*ALONE, "sh", "-c", play], cwd=ROOT, stdout=log, stderr=log, check=False
        )
    assert done.returncode == 0, (made / "log").read_text()[-4000:]
    return made


@pytest.fixture
def seen(folder: Path) -> Any:
    return json.loads((folder / "seen.json").read_text())


def test_a_run_goes_from_one_worker_to_four_and_back_and_nobody_restarts(
    seen: Any, folder: Path
) -> None:
    scaled = seen["scaled"]
    assert scaled["exit"] == 0
    assert len(scaled["four"]) == MOST_NODES
    assert set(scaled["four"].values()) == {1}, "each is in its first life"
    assert scaled["one"] == {"worker-0": 1}
    events = RunFolder.open(str(folder / "scaled")).read_events()
    kinds = [event["kind"] for event in events]
    assert "worker_lost" not in kinds
    assert kinds.count("worker_left") == MOST_NODES - 1
    metrics = json.loads((folder / "result.json").read_text())
    assert metrics["samples"] - metrics["samples_repeated"] == 4096
    assert metrics["samples_missed"] == 0


def test_it_is_spot_nodes_that_come_for_workers(seen: Any) -> None:
    landed = seen["scaled"]["landed"]
    workers = {where for name, where in landed.items() if name.startswith("worker-")}
    assert workers == {"spot"}
    assert landed["center"] == landed["controller"] == "on-demand"


@pytest.mark.parametrize(("how", "code"), [("SIGINT", 130), ("SIGKILL", -signal.SIGKILL)])
def test_a_driver_that_is_ended_asks_for_nothing_any_more(seen: Any, how: str, code: int) -> None:
    assert seen[how]["wanted"] > 0, "more were wanted than there was room for"
    assert seen[how]["exit"] == code
