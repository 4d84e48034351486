"""Desk and hall on one segment, in one process, whoever has a stripe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from ray_easgd.kernels import Checksum
from ray_easgd.protocol import Interval, Outcome
from ray_easgd.shared import board, passes
from ray_easgd.shared.board import RING
from ray_easgd.shared.desk import Desk, Meeting
from ray_easgd.shared.hall import Hall, RowNews, Superseded
from ray_easgd.shared.passes import Vector
from ray_easgd.shared.segment import Segment
from ray_easgd.shared.stripes import Stripes

STRIPE = 32_768
N = 3 * STRIPE + 5  # four stripes, the last one short
APPLIED, REFUSED = Outcome.APPLIED, Outcome.REFUSED


@pytest.fixture
def segment() -> Iterator[Segment]:
    with Segment.create(N, rows=4) as made:
        yield made


@pytest.fixture
def hall(segment: Segment) -> Iterator[Hall]:
    made = Hall(segment)
    made.set_rate(0.5)
    yield made
    made.close()


@contextmanager
def busy(segment: Segment, stripes: Iterable[int]) -> Iterator[None]:
    """Somebody else has these stripes."""
    holder = Stripes(segment)
    assert all(holder.try_lock(k) for k in stripes)
    yield
    holder.close()


def sit_down(segment: Segment, hall: Hall, incarnation: int, seed: int | None = None) -> Desk:
    row = hall.admit(incarnation)
    assert row is not None
    return Desk(segment, row, incarnation, seed)


def full(value: float) -> Vector:
    return np.full(N, value, np.float32)


def one(news: list[RowNews]) -> RowNews:
    assert len(news) == 1
    return news[0]


def test_an_elastic_exchange_moves_both_ends_by_one_difference(
    segment: Segment, hall: Hall
) -> None:
    desk, x = sit_down(segment, hall, 5, seed=9), full(4)
    met = desk.elastic(x, steps=3, progress=[Interval(0, 0, 32)])
    assert (x == 2).all()
    assert (hall.snapshot() == 2).all()
    expected = Meeting(
        outcome=APPLIED, sequence=1, version_count=1, moving_rate=0.5, squared_norm=4.0 * N
    )
    assert met == expected
    news = one(hall.collect())
    assert (news.incarnation, news.sequence, news.exchanges, news.steps) == (5, 1, 1, 3)
    assert news.intervals == (Interval(0, 0, 32),)
    assert news.checksum == Checksum(N, 9)(torch.full((N,), 2.0))
    assert news.scale == abs(news.checksum)
    assert not hall.collect()


def test_a_busy_stripe_is_left_out_and_follows_later(segment: Segment, hall: Hall) -> None:
    desk, x = sit_down(segment, hall, 1), full(4)
    with busy(segment, [1]):
        met = desk.elastic(x, steps=1, progress=[Interval(0, 0, 8)])
    left = slice(STRIPE, 2 * STRIPE)
    assert met.num_left_out == STRIPE
    assert (x[left] == 4).all()
    assert not segment.vector[left].any()
    assert x.sum() == 2 * (N - STRIPE) + 4 * STRIPE
    news = one(hall.collect())
    assert (news.left_out, news.steps, len(news.intervals)) == (STRIPE, 1, 1)
    assert desk.elastic(x, steps=1).num_left_out == 0
    assert (x[left] == 2).all()


def test_a_stripe_that_is_free_by_the_end_of_the_walk_is_not_left_out(
    segment: Segment, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, holder, elastic = sit_down(segment, hall, 1), Stripes(segment), passes.elastic
    assert holder.try_lock(0)

    def free_then(*args: object) -> object:
        holder.unlock(0)
        return elastic(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(passes, "elastic", free_then)
    assert desk.elastic(full(4), steps=1).num_left_out == 0
    assert (segment.vector == 2).all()
    holder.close()


def test_what_was_left_out_is_zero_in_what_arrived(segment: Segment, hall: Hall) -> None:
    desk, arrived = sit_down(segment, hall, 1), full(7)
    with busy(segment, [0, 3]):
        desk.elastic_later(full(14), arrived, steps=1)
    assert arrived.sum() == 7 * 2 * STRIPE
    assert (segment.vector == arrived).all()


def test_an_addition_names_what_it_missed_and_leaves_what_it_was_given(
    segment: Segment, hall: Hall
) -> None:
    desk, d = sit_down(segment, hall, 1), full(7)
    with busy(segment, [0, 3]):
        missed = desk.add(d, steps=1).missed
    assert sorted(missed) == [(0, STRIPE), (3 * STRIPE, N)]
    assert (d == 7).all()
    for start, stop in missed:
        d[start:stop] = 0
    assert (segment.vector == d).all()


def test_taking_over_leaves_one_vector(segment: Segment, hall: Hall) -> None:
    desk = sit_down(segment, hall, 1)
    segment.vector[:] = 10
    x, base = full(5), full(3)
    assert desk.take_over(x, base, steps=1).squared_norm == 4.0 * N
    for vector in (x, base, segment.vector):
        assert (vector == 12).all()


def test_steps_and_data_wait_while_every_stripe_is_busy(segment: Segment, hall: Hall) -> None:
    desk, x = sit_down(segment, hall, 1), full(4)
    with busy(segment, range(4)):
        met = desk.elastic(x, steps=2, progress=[Interval(0, 0, 8)])
    assert (met.outcome, met.num_left_out, met.sequence) == (APPLIED, N, 1)
    assert (x == 4).all()
    news = one(hall.collect())
    assert (news.exchanges, news.steps, news.intervals) == (1, 0, ())
    assert desk.pending_steps == 2
    assert desk.pending_progress() == (Interval(0, 0, 8),)
    desk.elastic(x, steps=3, progress=[Interval(0, 8, 16)])
    news = one(hall.collect())
    assert (news.exchanges, news.steps, news.intervals) == (1, 5, (Interval(0, 0, 16),))
    assert desk.pending_progress() == ()


def test_the_ring_is_full_and_nothing_is_lost(segment: Segment, hall: Hall) -> None:
    desk, x = sit_down(segment, hall, 1), full(0)
    apart = [Interval(0, 10 * k, 10 * k + 1) for k in range(RING + 3)]
    desk.elastic(x, steps=1, progress=apart)
    assert desk.pending_progress() == tuple(apart[RING:])
    more = Interval(0, apart[-1].stop, apart[-1].stop + 4)
    assert desk.elastic(x, steps=1, progress=[more]).outcome is APPLIED
    joined = Interval(0, apart[-1].start, more.stop)
    assert desk.pending_progress() == (*apart[RING:-1], joined)
    assert one(hall.collect()).intervals == tuple(apart[:RING])
    desk.elastic(x, steps=1)
    assert one(hall.collect()).intervals == (*apart[RING:-1], joined)
    assert desk.pending_progress() == ()


def test_data_trained_on_twice_is_told_twice(segment: Segment, hall: Hall) -> None:
    desk = sit_down(segment, hall, 1)
    twice = [Interval(1, 0, 4), Interval(0, 4, 8), Interval(1, 0, 4), Interval(1, 2, 6)]
    desk.elastic(full(0), steps=1, progress=twice)
    assert Counter(one(hall.collect()).intervals) == Counter(twice)


@pytest.mark.parametrize("name", ["elastic", "elastic_later", "take_over", "add"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_out(segment: Segment, hall: Hall, name: str, bad: float) -> None:
    desk, x, other = sit_down(segment, hall, 1, seed=2), full(1), full(0)
    x[2 * STRIPE + 3000] = bad
    desk.add(full(1), steps=1)
    hall.collect()
    vectors = (x, other) if name in {"elastic_later", "take_over"} else (x,)
    met: Meeting = getattr(desk, name)(*vectors, steps=4, progress=[Interval(0, 0, 8)])
    assert met.outcome is Outcome.NOT_FINITE
    assert np.isfinite(segment.vector).all()
    assert np.isfinite(other).all()
    assert 0 < met.num_left_out < N
    news = one(hall.collect())
    assert (news.exchanges, news.steps, news.intervals) == (1, 0, ())
    checksum = Checksum(N, 2)
    moved = torch.from_numpy(hall.snapshot() - 1)
    assert news.checksum == pytest.approx(checksum(moved), abs=1e-6)
    assert not desk.dismissed
    if name == "add":
        for start, stop in met.missed:
            x[start:stop] = 0
        assert (segment.vector == 1 + x).all()


def test_an_exchange_that_is_not_finite_from_the_start_is_none(
    segment: Segment, hall: Hall
) -> None:
    desk = sit_down(segment, hall, 1)
    met = desk.elastic(full(np.nan), steps=1)
    assert (met.outcome, met.sequence, met.num_left_out) == (Outcome.NOT_FINITE, 0, N)
    assert not hall.collect()


def test_staleness_counts_what_others_did_in_the_meantime(
    segment: Segment, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, other = sit_down(segment, hall, 1), sit_down(segment, hall, 2)
    desk.elastic(full(0), steps=1)
    add = passes.add

    def meanwhile(*args: object) -> object:
        monkeypatch.setattr(passes, "add", add)
        assert other.elastic(full(0), steps=1).num_left_out == STRIPE
        hall.set_base_count(hall.version_count - 2 + 1)
        return add(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(passes, "add", meanwhile)
    met = desk.add(full(0), steps=1)
    assert (met.staleness, met.version_count) == (2, 4)


def test_a_dismissed_life_touches_nothing(segment: Segment, hall: Hall) -> None:
    desk, x = sit_down(segment, hall, 1), full(4)
    desk.elastic(x, steps=1)
    hall.dismiss(1)
    hall.dismiss(1)
    assert desk.dismissed
    before = x.copy(), segment.vector.copy()
    assert desk.elastic(x, steps=1).outcome is REFUSED
    assert (x == before[0]).all()
    assert (segment.vector == before[1]).all()
    news = one(hall.collect())
    assert (news.exchanges, news.ended, news.torn) == (1, True, False)
    assert hall.version_count == 1
    assert not hall.collect()


def test_a_dismissal_between_the_look_and_the_lock_is_seen(
    segment: Segment, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, x = sit_down(segment, hall, 1), full(4)
    lock = desk._stripes.try_lock_row

    def dismissed_first(row: int) -> bool:
        hall.dismiss(1)
        assert one(hall.collect()).ended
        return lock(row)

    monkeypatch.setattr(desk._stripes, "try_lock_row", dismissed_first)
    assert desk.elastic(x, steps=1).outcome is REFUSED
    assert (x == 4).all()
    assert desk._row == hall.admit(2)
    monkeypatch.setattr(desk._stripes, "try_lock_row", pytest.fail)  # the row is another's now
    assert desk.elastic(x, steps=1).outcome is REFUSED


def test_a_life_that_ends_between_two_exchanges_is_not_torn(segment: Segment, hall: Hall) -> None:
    desk = sit_down(segment, hall, 1)
    desk.elastic(full(1), steps=1)
    segment.board.entered[desk._row] = 1  # killed when it had published, and not yet cleared this
    hall.dismiss(1)
    news = one(hall.collect())
    assert (news.exchanges, news.ended, news.torn) == (1, True, False)


def test_a_row_goes_to_the_next_life_and_keeps_counting(segment: Segment, hall: Hall) -> None:
    old, x = sit_down(segment, hall, 1), full(4)
    old.elastic(x, steps=1)
    hall.dismiss(1)
    hall.collect()
    new = sit_down(segment, hall, 2)
    assert old._row == new._row
    assert old.elastic(x, steps=1).outcome is REFUSED
    met = new.elastic(x, steps=1)
    assert (met.sequence, met.version_count) == (1, 2)
    assert hall.applied == {2: 0}
    assert one(hall.collect()).sequence == 1
    assert hall.applied == {2: 1}
    assert hall.totals.exchanges == 2


def test_a_full_hall_admits_nobody(segment: Segment, hall: Hall) -> None:
    assert [hall.admit(k) for k in (1, 2, 3, 4)] == [0, 1, 2, 3]
    assert hall.admit(5) is None
    hall.dismiss(2)
    assert hall.admit(5) is None  # the row's last news is not yet collected
    hall.collect()
    assert hall.admit(5) == 1
    assert hall.lives == {1: 0, 5: 1, 3: 2, 4: 3}
    with pytest.raises(ValueError, match="not a new life"):
        hall.admit(5)


def test_an_interrupted_exchange_is_torn_and_the_last_one(
    segment: Segment, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = sit_down(segment, hall, 1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(passes, "elastic", interrupt)
        with pytest.raises(KeyboardInterrupt):
            desk.elastic(full(1), steps=1)
    assert desk.elastic(full(1), steps=1).outcome is REFUSED
    with busy(segment, range(4)):  # every lock was let go
        hall.dismiss(1)
        assert one(hall.collect()).torn
    assert sit_down(segment, hall, 2).elastic(full(1), steps=1).outcome is APPLIED
    hall.dismiss(2)
    assert not one(hall.collect()).torn


def test_a_vector_that_does_not_fit_is_refused_before_anything_is_written(
    segment: Segment, hall: Hall
) -> None:
    desk, read_only = sit_down(segment, hall, 1), full(1)
    read_only.flags.writeable = False
    wrong = [np.ones(N - 1, np.float32), np.ones(N), np.ones((N, 1), np.float32)]
    for x in (*wrong, np.ones(2 * N, np.float32)[::2], read_only):
        with pytest.raises(ValueError, match="vector"):
            desk.elastic(x, steps=1)  # type: ignore[arg-type]
    assert desk.elastic(full(1), steps=1).sequence == 1
    with pytest.raises(ValueError, match="shape"):
        hall.add(np.ones(N + 1, np.float32))


def test_a_push_that_meets_a_busy_stripe_is_owed_and_shown(segment: Segment, hall: Hall) -> None:
    push = full(3)
    push.flags.writeable = False  # as those from the object store are
    assert hall.num_owed == 0
    with busy(segment, [1]):
        assert hall.add(push)
        assert hall.add(push)
        assert hall.num_owed == hall.settle() == STRIPE
        assert (hall.snapshot() == 6).all()
        assert not segment.vector[STRIPE : 2 * STRIPE].any()
    assert hall.add(full(1))
    assert (hall.snapshot() == 7).all()
    assert hall.settle() == 0
    assert (segment.vector == 7).all()
    out = full(0)
    assert hall.snapshot(out) is out
    assert (out == 7).all()


@pytest.mark.parametrize("stripes", [[], [0, 1, 2, 3]])
def test_a_push_that_is_not_finite_leaves_the_center_finite(
    segment: Segment, hall: Hall, stripes: list[int]
) -> None:
    push = full(1)
    push[STRIPE + 1] = np.nan
    with busy(segment, stripes):
        assert not hall.add(push)
    hall.settle()
    assert np.isfinite(hall.snapshot()).all()


def test_a_hub_that_was_superseded_touches_nothing(segment: Segment, hall: Hall) -> None:
    assert hall.epoch == 1
    successor = Hall(segment, epoch=7)
    for act in (lambda: hall.add(full(1)), hall.collect, hall.settle, lambda: hall.admit(3)):
        with pytest.raises(Superseded, match="epoch is 1, the segment's 7"):
            act()
    with pytest.raises(Superseded):
        Hall(segment, epoch=7)
    assert not segment.vector.any()
    assert sit_down(segment, successor, 3).hub_epoch == 7
    successor.close()


def test_a_child_killed_while_it_publishes_has_published_nothing(
    segment: Segment, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = sit_down(segment, hall, 1)
    desk.elastic(full(1), steps=1, progress=[Interval(0, 0, 1)])
    before = segment.board.record(desk._row)
    with monkeypatch.context() as patch:

        def killed_in_the_middle(row: int, **_: object) -> None:
            """The next record is written in part, and never made the current one."""
            following = int(segment.board.sequence[row]) + 1
            segment.board.records[row, following % 2]["steps"] = 99
            raise KeyboardInterrupt

        patch.setattr(segment.board, "publish", killed_in_the_middle)
        with pytest.raises(KeyboardInterrupt):
            desk.elastic(full(1), steps=7, progress=[Interval(0, 1, 2)])
    assert segment.board.record(desk._row) == before
    hall.dismiss(1)
    news = one(hall.collect())
    assert (news.exchanges, news.steps, news.intervals) == (1, 1, (Interval(0, 0, 1),))
    assert news.torn


def test_a_record_that_is_overwritten_while_it_is_read_is_read_again(
    segment: Segment, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = sit_down(segment, hall, 1)
    desk.elastic(full(1), steps=1)
    fence = passes.fence

    def meanwhile() -> None:
        monkeypatch.setattr(board, "fence", fence)
        for _ in range(3):
            desk.elastic(full(1), steps=10)

    monkeypatch.setattr(board, "fence", meanwhile)
    news = one(hall.collect())
    assert (news.exchanges, news.steps) == (4, 31)


def test_a_copy_for_a_child_is_the_center(segment: Segment, hall: Hall) -> None:
    segment.vector[:] = np.arange(N)
    out = full(0)
    sit_down(segment, hall, 1).read(out)
    assert (out == np.arange(N)).all()
