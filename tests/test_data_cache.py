"""Entries of the cache: whole or absent, whoever writes and however it ends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ray_easgd.data import cache
from ray_easgd.errors import BadData


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


def test_two_writers_who_race_leave_one_whole_entry(root: Path) -> None:
    both_are_writing = threading.Barrier(2)

    def build(folder: Path) -> None:
        write(folder)
        both_are_writing.wait(timeout=60)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: cache.entry("key", build), range(2))
    assert first == second
    assert [p.name for p in root.iterdir()] == [first.name]  # the loser's copy is gone
    assert (first / "it").read_text() == "whole"


def test_a_writer_that_fails_leaves_nothing(root: Path) -> None:
    def build(folder: Path) -> None:
        write(folder)
        raise BadData("data", "x", "half way", "Stop.")

    with pytest.raises(BadData, match="half way"):
        cache.entry("key", build)
    assert list(root.iterdir()) == []


def test_a_half_written_entry_of_a_killed_writer_is_not_used() -> None:
    aside: list[Path] = []

    def build(folder: Path) -> None:
        write(folder)
        aside.append(folder)

    cache.entry("key", build).rename(aside[0])  # as if it had died before the rename
    built = cache.entry("key", write)
    assert built != aside[0]
    assert (built / "it").exists()


def test_a_cache_that_cannot_be_written_is_refused(root: Path) -> None:
    root.write_text("a file where the folder should be")
    with pytest.raises(BadData, match="RAY_EASGD_CACHE"):
        cache.entry("key", write)
