"""What a node says of itself and of its processes."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.node_probe import probe
from actors.stopwatch import Stopwatch
from tests.stopping import stop


def test_the_state_of_a_real_process_is_told() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        stop(child.pid)
        os.waitpid(child.pid, os.WUNTRACED)
        assert probe([child.pid])["processes"] == {child.pid: "stopped (SIGSTOP)"}
    finally:
        child.kill()
        child.communicate()
    assert probe([child.pid])["processes"] == {child.pid: "gone"}


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("7 (a) b) D 1 2", "waiting for a disk"),
        ("7 (python) X 1 2", "in state X"),
    ],
)
def test_a_name_with_brackets_hides_no_state(tmp_path: Path, line: str, word: str) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(line)
    assert probe([7], str(tmp_path))["processes"] == {7: word}


def test_the_object_stores_folder_is_the_raylets_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert probe([], str(tmp_path))["store_in"] == ""
    monkeypatch.setenv("RAY_RAYLET_PID", "7")
    raylet = tmp_path / "7"
    raylet.mkdir()
    (raylet / "cmdline").write_text("raylet\0--node_name=x\0--plasma_directory=/tmp/ray\0")
    assert probe([], str(tmp_path))["store_in"] == "/tmp/ray"


def test_a_stopwatch_tells_the_quickest_and_what_is_under_way() -> None:
    watch = Stopwatch()
    assert math.isnan(watch.quickest_s), "nothing is known"
    for seconds in (0.0, 0.0, 0.02):
        watch.timed(time.sleep, seconds)
    assert watch.under_way_s == 0
    assert 0 <= watch.quickest_s < math.inf
    with pytest.raises(ZeroDivisionError):
        watch.timed(lambda: 1 // 0)
    assert watch.under_way_s == 0
