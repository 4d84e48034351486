"""Entries of the cache: whole or absent, whoever writes and however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ray_easgd.data import cache
from ray_easgd.errors import BadData
from tests.stopping import stop


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_EASGD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: Path) -> None:
    (folder / "it").write_text("whole")


def test_an_entry_is_built_once() -> None:
    first = cache.entry("key", write)
    assert (first / "it").read_text() == "whole"
    assert cache.entry("key", lambda _: pytest.fail("built again")) == first


def entries(root: Path) -> list[str]:
    return [path.name for path in root.iterdir() if path.suffix != ".lock"]


def test_of_those_who_want_an_entry_at_once_one_builds_it(root: Path) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        write(folder)
        built.append(folder)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cache.entry("key", build), range(8)))
    assert len(built) == 1
    assert set(found) == {root / entries(root)[0]}
    assert (found[0] / "it").read_text() == "whole"


STUCK = """
import sys, time
from ray_easgd.data import cache
cache.entry("key", lambda folder: print("building", flush=True) or time.sleep(3600))
"""


@pytest.fixture
def builder() -> Iterator[subprocess.Popen[bytes]]:
    """It has begun, and does not come to an end."""
    command = [sys.executable, "-c", STUCK]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_nobody_waits_for_a_builder_that_was_killed(builder: subprocess.Popen[bytes]) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.entry, "key", write)
        builder.kill()
        assert (waiting.result() / "it").read_text() == "whole"


def test_nobody_waits_for_one_that_is_stopped(
    builder: subprocess.Popen[bytes], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SILENCE_S", 2.0)
    (lock,) = root.glob("*.lock")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.entry, "key", write)
        before = lock.stat().st_mtime
        while lock.stat().st_mtime < before + 2 * cache.SILENCE_S:
            assert not waiting.done(), "its builder is at work"
            time.sleep(0.01)
        stop(builder.pid)
        assert (waiting.result() / "it").read_text() == "whole"


@pytest.mark.usefixtures("builder")
def test_nobody_waits_for_ever_for_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "PATIENCE_S", 0.0)
    assert (cache.entry("key", write) / "it").read_text() == "whole"


def test_a_writer_that_fails_leaves_nothing(root: Path) -> None:
    def build(folder: Path) -> None:
        write(folder)
        raise BadData("data", "x", "half way", "Stop.")

    with pytest.raises(BadData, match="half way"):
        cache.entry("key", build)
    assert entries(root) == []


def test_a_half_written_entry_of_a_killed_writer_is_not_used() -> None:
    aside: list[Path] = []

    def build(folder: Path) -> None:
        write(folder)
        aside.append(folder)

    cache.entry("key", build).rename(aside[0])  # as if it had died before the rename
    built = cache.entry("key", write)
    assert built != aside[0]
    assert (built / "it").exists()


@pytest.mark.parametrize(("age_s", "is_left"), [(2 * 86_400, False), (3_600, True)])
def test_what_a_killed_writer_left_is_removed_a_day_later(
    root: Path, builder: subprocess.Popen[bytes], age_s: float, *, is_left: bool
) -> None:
    builder.kill()
    builder.wait()
    (left,) = root.glob(".key-*/")
    then = left.stat().st_mtime - age_s
    os.utime(left, (then, then))
    cache.entry("other", write)
    assert left.is_dir() == is_left


def test_a_cache_that_cannot_be_written_is_refused(root: Path) -> None:
    root.write_text("a file where the folder should be")
    with pytest.raises(BadData, match="RAY_EASGD_CACHE"):
        cache.entry("key", write)
