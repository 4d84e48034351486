"""Shared memory that another process finds, checks, and cannot leave behind."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ray_easgd.shared import room
from ray_easgd.shared.board import is_board
from ray_easgd.shared.segment import Segment, SharedMemoryUnavailable
from ray_easgd.shared.stripes import Stripes, stripe_size
from tests.shared_children import hold, holders, process


def test_a_segment_opened_again_is_the_same_memory() -> None:
    with Segment.create(1000, rows=3) as made, Segment.open(made.address) as found:
        made.vector[:] = np.arange(1000)
        made.board.moving_rate = 0.125
        assert (found.vector == made.vector).all()
        assert found.board.moving_rate == 0.125
        assert found.board.num_rows == 3
        assert found.address.fd != made.address.fd


@pytest.mark.parametrize("n", [1, 1000, 600_000, 3_000_000])
def test_the_vector_begins_at_zero_on_a_page_apart_from_the_books(n: int) -> None:
    with Segment.create(n, rows=4) as segment:
        page = 1 << 21 if n > 1 << 19 else 4096
        assert segment.vector.ctypes.data % 4096 == 0
        assert segment.vector.shape == (n,)
        assert not segment.vector.any()
        segment.board.rings[:] = -1
        segment.board.records["scale"] = -1.0
        assert not segment.vector.any()
        offset = segment.vector.ctypes.data - segment.board._header.ctypes.data
        assert offset % page == 0


def test_an_address_travels_and_another_token_is_refused() -> None:
    with Segment.create(10) as segment:
        address = pickle.loads(pickle.dumps(segment.address))
        assert address == segment.address
        with pytest.raises(SharedMemoryUnavailable, match="another segment"):
            Segment.open(replace(address, token="0" * 32))


def test_a_file_that_is_no_segment_is_refused_unopened() -> None:
    reading, writing = os.pipe()  # opening one end of a pipe may block
    with Segment.create(10) as segment:
        for fd in (reading, writing):
            with pytest.raises(SharedMemoryUnavailable, match="not a segment"):
                Segment.open(replace(segment.address, fd=fd))
        os.close(reading)
        os.close(writing)
        with pytest.raises(SharedMemoryUnavailable, match="not there"):
            Segment.open(replace(segment.address, fd=99_999))


def test_memory_of_the_same_name_without_a_header_is_refused() -> None:
    with Segment.create(10) as segment:
        for size in (0, 4096):
            fd = os.memfd_create("ray-easgd")
            os.ftruncate(fd, size)
            with pytest.raises(SharedMemoryUnavailable):
                Segment.open(replace(segment.address, fd=fd))
            os.close(fd)
        assert is_board(segment._memory, segment.address.token)


def test_a_dead_process_has_no_segment() -> None:
    with Segment.create(10) as segment, process(hold, segment.address) as other:
        theirs = other.hear()
        Segment.open(theirs).close()
        other.kill()
        with pytest.raises(SharedMemoryUnavailable, match="gone"):
            Segment.open(theirs)


def test_too_little_memory_is_an_error_before_any_is_taken() -> None:
    with pytest.raises(SharedMemoryUnavailable, match="are needed") as caught:
        Segment.create(10**13)
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason


def test_a_containers_limit_counts_and_its_cached_files_do_not(tmp_path: Path) -> None:
    own = tmp_path / "outer" / "own"
    own.mkdir(parents=True)
    for folder, limit, used in ((own, "max", 500), (own.parent, "1000", 700)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 1\ninactive_file 50\n")
    assert list(room._rooms_above(tmp_path, "/outer/own", "memory.max", "memory.current")) == [350]


def test_a_system_without_such_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(SharedMemoryUnavailable, match="this system"):
        Segment.create(10)


def test_a_refusal_by_the_system_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(SharedMemoryUnavailable, match="No space left"):
        Segment.create(10)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_the_memory_lives_as_long_as_anybody_has_it() -> None:
    segment = Segment.create(10)
    file = os.fstat(segment.fd)
    with process(hold, segment.address) as other:
        theirs = other.hear()
        segment.vector[:] = 5
        segment.close()
        segment.close()
        assert holders(file) == {other.pid}
        with Segment.open(theirs) as again:
            assert (again.vector == 5).all()
        other.kill()
    assert holders(file) == set()


def test_a_view_outlives_its_segment() -> None:
    segment = Segment.create(10)
    vector = segment.vector
    segment.close()
    vector[:] = 3
    assert vector.sum() == 30


def test_a_lock_excludes_another_holder_and_only_there() -> None:
    with Segment.create(100_000) as segment:
        one, other = Stripes(segment), Stripes(segment)
        assert one.try_lock(0)
        assert not other.try_lock(0)
        assert other.try_lock(1)
        assert one.try_lock_row(0)
        assert not other.try_lock_row(0)
        one.unlock(0)
        assert other.try_lock(0)
        one.close()
        assert other.try_lock_row(0)
        other.close()


@pytest.mark.parametrize("n", [1, 8192, 100_000, 2_700_000, 25_000_000])
def test_stripes_cover_the_vector_once(n: int) -> None:
    size = stripe_size(n)
    assert 32_768 <= size <= 131_072
    assert size % 1024 == 0
    with Segment.create(min(n, 100_000), rows=1) as segment:
        stripes = Stripes(segment)
        edges = [stop for _, stop in stripes.bounds]
        assert [start for start, _ in stripes.bounds] == [0, *edges[:-1]]
        assert edges[-1] == segment.board.n
        stripes.close()
