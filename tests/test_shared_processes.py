"""Exchanges in shared memory among real processes that are stopped and killed.

Vectors hold whole numbers, which float32 adds exactly, so the center *is* the count: a lost or
doubled update shows.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from ray_easgd.protocol import Outcome
from ray_easgd.shared.desk import Desk
from ray_easgd.shared.hall import Hall, RowNews
from ray_easgd.shared.segment import Address, Segment
from ray_easgd.shared.stripes import Stripes
from tests.shared_children import (
    Process,
    add_ones,
    be_hub,
    be_successor,
    holders,
    meet_until_dismissed,
    process,
    stop_inside,
    until,
)

STRIPE = 32_768
N = 4 * STRIPE


@pytest.fixture
def segment() -> Iterator[Segment]:
    with Segment.create(N) as made:
        yield made


@pytest.fixture
def hall(segment: Segment) -> Iterator[Hall]:
    made = Hall(segment)
    made.set_rate(0.5)
    yield made
    made.close()


def admit(hall: Hall, incarnation: int) -> int:
    row = hall.admit(incarnation)
    assert row is not None
    return row


def ones() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.ones(N, np.float32)


def the_end(hall: Hall, incarnation: int) -> RowNews:
    """Dismiss a life, and wait for its last news; what others tell meanwhile is left out."""
    hall.dismiss(incarnation)
    found: list[RowNews] = []

    def ended() -> bool:
        found.extend(n for n in hall.collect() if n.incarnation == incarnation)
        return bool(found) and found[-1].ended

    until(ended)
    return found[-1]


def every_lock_is_free(segment: Segment) -> bool:
    stripes = Stripes(segment)
    free = [stripes.try_lock(k) for k in range(len(stripes.bounds) + segment.board.num_rows)]
    stripes.close()
    return all(free)


def test_four_processes_at_once_lose_no_update(segment: Segment, hall: Hall) -> None:
    times = 500
    with ExitStack() as stack:
        children = [
            stack.enter_context(process(add_ones, segment.address, admit(hall, k), k, times))
            for k in (1, 2, 3, 4)
        ]
        assert [child.hear() for child in children] == ["ready"] * 4
        for child in children:
            child.tell("go")
        news: list[RowNews] = []
        while not all(child.has_told for child in children):
            news += hall.collect()
        news += hall.collect()
        told = [child.hear() for child in children]
        for child in children:
            child.join()
    assert [applied for _, applied in told] == [times] * 4
    assert (segment.vector == sum(arrived for arrived, _ in told)).all()
    assert all(n.steps == n.exchanges for n in news)  # each was read as one
    assert hall.version_count == hall.totals.exchanges == hall.totals.steps == 4 * times
    missing = 4 * times * N - float(segment.vector.sum(dtype=np.float64))
    assert sum(n.left_out for n in news) == missing


def test_a_child_stopped_inside_a_stripe_is_left_out_there_and_nowhere_else(
    segment: Segment, hall: Hall
) -> None:
    row = admit(hall, 1)
    desk, d = Desk(segment, admit(hall, 2), 2), ones()
    with process(stop_inside, segment.address, row, 1) as child:
        start, half, stop = child.hear()
        child.until_stopped()
        for _ in range(10):
            met = desk.add(d, steps=1)
            assert (met.outcome, met.num_left_out) == (Outcome.APPLIED, STRIPE)
            assert met.missed == ((start, stop),)
        assert (segment.vector[start:half] == 1).all()
        assert not segment.vector[half:stop].any()
        assert [n.incarnation for n in hall.collect()] == [2]
        child.go_on()
        met = child.hear()
        assert (met.outcome, met.num_left_out, met.staleness) == (Outcome.APPLIED, 0, 10)
        assert child.hear().sequence == 2
    assert (segment.vector[start:stop] == 2).all()
    assert segment.vector.sum() == 2 * STRIPE + 12 * (N - STRIPE)
    desk.close()


def test_a_child_dismissed_while_stopped_inside_still_counts_and_then_ends(
    segment: Segment, hall: Hall
) -> None:
    with process(stop_inside, segment.address, admit(hall, 1), 1) as child:
        child.hear()
        child.until_stopped()
        hall.dismiss(1)
        assert hall.collect() == []  # not waited for
        assert hall.lives == {}
        child.go_on()
        assert child.hear().outcome is Outcome.APPLIED
        assert child.hear().outcome is Outcome.REFUSED
        (news,) = hall.collect()
    assert (news.exchanges, news.ended, news.torn) == (1, True, False)
    assert (segment.vector == 1).all()


def test_a_child_killed_inside_a_stripe_holds_nothing_and_is_told_torn(
    segment: Segment, hall: Hall
) -> None:
    row = admit(hall, 1)
    desk = Desk(segment, admit(hall, 2), 2)
    with process(stop_inside, segment.address, row, 1) as child:
        start, half, _ = child.hear()
        child.until_stopped()
        hall.dismiss(1)
        assert hall.collect() == []
        child.kill()
    assert every_lock_is_free(segment)
    assert desk.add(ones(), steps=1).num_left_out == 0
    torn = np.zeros(N)
    torn[start:half] = 1
    assert (segment.vector == 1 + torn).all()
    news = {n.incarnation: n for n in hall.collect()}
    assert (news[1].torn, news[1].exchanges, news[2].torn) == (True, 0, False)
    assert admit(hall, 3) == row
    desk.close()


def test_fifty_kills_leave_no_lock_and_no_memory(segment: Segment, hall: Hall) -> None:
    file, random = os.fstat(segment.fd), np.random.default_rng(8)
    desk, arrived = Desk(segment, admit(hall, 1000), 1000), np.zeros(N)
    num_torn, counted = 0, 0
    for k in range(1, 51):
        with process(add_ones, segment.address, admit(hall, k), k, 10**9) as child:
            child.hear()
            child.tell("go")
            enough = segment.board.version_count + int(random.integers(1, 40))
            until(lambda enough=enough: segment.board.version_count >= enough)  # type: ignore[misc]
            os.kill(child.pid, signal.SIGKILL)
            d = ones()
            assert desk.add(d, steps=1).outcome is Outcome.APPLIED
            arrived += d
        news = the_end(hall, k)
        num_torn += news.torn
        counted += news.sequence
    assert every_lock_is_free(segment)
    # Element by element: every counted update that found its stripe free, and at most the torn.
    by_the_dead = segment.vector - arrived
    assert (by_the_dead == np.round(by_the_dead)).all()
    assert by_the_dead.min() >= 0
    assert by_the_dead.max() <= counted + num_torn
    left_out_by_the_dead = hall.totals.left_out - (50 * N - int(arrived.sum()))
    updates = counted * N - left_out_by_the_dead
    assert updates <= by_the_dead.sum(dtype=np.float64) <= updates + num_torn * N
    assert holders(file) == {os.getpid()}
    desk.close()
    hall.close()
    segment.close()
    assert holders(file) == set()


def test_a_dismissal_at_any_moment_splits_counted_from_refused(
    segment: Segment, hall: Hall
) -> None:
    segment.vector[:] = 3
    for k in range(1, 21):
        row, before = admit(hall, k), segment.vector.sum(dtype=np.float64)
        began = int(segment.board.sequence[row])
        with process(meet_until_dismissed, segment.address, row, k) as child:
            until(lambda row=row, began=began: segment.board.sequence[row] > began)  # type: ignore[misc]
            news = the_end(hall, k)
            x, applied = child.hear()
            assert news.sequence == applied
            assert not news.torn
            after = segment.vector.sum(dtype=np.float64) + x.sum(dtype=np.float64)
            assert after == pytest.approx(before + N, rel=1e-6)
            child.join()
    assert hall.lives == {}


def test_a_successor_finds_everything_through_a_child() -> None:
    with process(be_hub, N, [11, 12]) as hub:
        address, rows = hub.hear()
        with Segment.open(address) as segment:
            file = os.fstat(segment.fd)
            desk = Desk(segment, rows[1], 12)
            desk.add(ones(), steps=2)
            hub.tell("collect")
            hub.hear()
            desk.add(ones(), steps=5)
            hub.kill()
            assert desk.add(ones(), steps=1).version_count == 7 + 3  # nobody misses the hub
            with process(be_successor, segment.address) as successor:
                epoch, lives, applied, count, totals, news, vector = successor.hear()
            assert (epoch, lives, count) == (2, {11: rows[0], 12: rows[1]}, 10)
            assert (totals.exchanges, totals.steps) == (1, 2)
            assert [(n.incarnation, n.sequence, n.exchanges, n.steps) for n in news] == [
                (12, 3, 2, 6)
            ]
            assert applied == {11: 0, 12: 3}
            assert (vector == 3).all()
            assert desk.hub_epoch == 2
            assert desk.moving_rate == 0.25
            desk.close()
    assert holders(file) == set()


def test_a_hub_killed_in_the_middle_of_an_exchange_does_not_harm_it() -> None:
    with process(be_hub, N, [1]) as hub:
        address, (row,) = hub.hear()
        with process(stop_inside, address, row, 1) as child:
            child.hear()
            child.until_stopped()
            hub.kill()
            with Segment.open(_address_in(child, address)) as segment:
                hall = Hall(segment)
                assert hall.collect() == []
                child.go_on()
                assert [child.hear().outcome, child.hear().outcome] == [Outcome.APPLIED] * 2
                (news,) = hall.collect()
                assert (news.exchanges, news.steps) == (2, 2)
                assert (hall.snapshot() == 2).all()
                hall.close()


def _address_in(child: Process, address: Address) -> Address:
    """Where a stopped child has its segment, which it cannot tell."""
    for fd in os.listdir(f"/proc/{child.pid}/fd"):  # noqa: PTH208
        if "/memfd:ray-easgd" in os.readlink(f"/proc/{child.pid}/fd/{fd}"):  # noqa: PTH115
            return Address(child.pid, int(fd), address.token)
    raise AssertionError("the child has no segment")
