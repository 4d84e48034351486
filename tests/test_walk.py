"""A walk over shared stripes by several hands: what one would do, whoever gets which part."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from ray_easgd.protocol import Outcome
from ray_easgd.shared import desk as desks
from ray_easgd.shared.desk import Desk
from ray_easgd.shared.hall import Hall
from ray_easgd.shared.passes import Passed, Vector
from ray_easgd.shared.segment import Segment
from ray_easgd.shared.stripes import Stripes
from ray_easgd.shared.walk import Walker, num_hands, num_parts
from tests.test_shared_exchange import sit_down

N = (9 << 15) + 5
HANDS = 4


@pytest.fixture(autouse=True)
def _many_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "num_hands", lambda *_: HANDS)


@pytest.fixture
def segment() -> Iterator[Segment]:
    with Segment.create(N) as segment:
        yield segment


def a_desk(segment: Segment, hall: Hall, incarnation: int = 1) -> Desk:
    hall.set_rate(0.3)
    return sit_down(segment, hall, incarnation)


def drawn(seed: int) -> Vector:
    return np.random.default_rng(seed).standard_normal(N).astype(np.float32)


def test_many_hands_do_what_one_does_to_the_bit(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall, ends = Hall(segment), []
    for hands in (1, HANDS):
        monkeypatch.setattr(desks, "num_hands", lambda *_, hands=hands: hands)
        segment.vector[:], x = drawn(0), drawn(1)
        desk = a_desk(segment, hall, hands)
        meeting = desk.elastic(x, steps=1)
        assert (meeting.outcome, meeting.num_left_out) == (Outcome.APPLIED, 0)
        ends.append((x, segment.vector.copy(), meeting.squared_norm))
        desk.close()
    (x, c, norm), (x_, c_, norm_) = ends
    assert (x == x_).all()
    assert (c == c_).all()
    assert norm_ == pytest.approx(norm, rel=1e-6)


def test_what_is_not_finite_stops_all_hands_and_stays_out(segment: Segment) -> None:
    desk, x = a_desk(segment, Hall(segment)), np.ones(N, np.float32)
    x[N // 2] = np.nan
    meeting = desk.elastic(x, steps=1)
    assert meeting.outcome is Outcome.NOT_FINITE
    moved = segment.vector != 0
    assert (segment.vector[moved] == np.float32(0.3)).all()
    assert (x[moved] == np.float32(0.7)).all()
    assert meeting.num_left_out == N - np.count_nonzero(moved)
    left = sum(stop - start for start, stop in meeting.missed)
    assert left == meeting.num_left_out
    desk.close()


def test_stripes_that_others_have_are_left_out_once(segment: Segment) -> None:
    desk, x = a_desk(segment, Hall(segment)), np.ones(N, np.float32)
    other = Stripes(segment)
    assert other.try_lock(2)
    assert other.try_lock(7)
    meeting = desk.elastic(x, steps=1)
    assert sorted(meeting.missed) == [other.bounds[2], other.bounds[7]]
    assert np.count_nonzero(segment.vector) == N - meeting.num_left_out
    other.close()
    desk.close()


class Pressed(BaseException):
    """As KeyboardInterrupt is."""


def test_an_exception_leaves_no_hand_at_work_and_no_stripe_locked(segment: Segment) -> None:
    walker, visited = Walker(Stripes(segment), 0), list[int]()

    def visit(start: int, stop: int) -> Passed:
        visited.append(start)
        if len(visited) > 3:
            raise Pressed
        return stop, 0.0, 0.0

    with pytest.raises(Pressed):
        walker.walk(visit, HANDS)
    num_visited, other = len(visited), Stripes(segment)
    assert all(other.try_lock(k) for k in range(len(other.bounds)))
    assert len(visited) == num_visited
    walker.close()
    other.close()


def test_children_with_many_hands_each_conserve_the_sum(segment: Segment) -> None:
    hall, num = Hall(segment), 3
    desks_of = [a_desk(segment, hall, k + 1) for k in range(num)]
    vectors = [drawn(k) for k in range(num)]
    before = sum(x.astype(np.float64) for x in vectors) + segment.vector

    def exchange(k: int) -> None:
        for _ in range(30):
            desks_of[k].elastic(vectors[k], steps=1)

    with ThreadPoolExecutor(num) as pool:
        list(pool.map(exchange, range(num)))
    after = sum(x.astype(np.float64) for x in vectors) + segment.vector
    assert np.abs(after - before).max() < 1e-4
    assert sum(news.exchanges for news in hall.collect()) == 30 * num
    for desk in desks_of:
        desk.close()


def test_hands_are_for_idle_cores_and_large_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_easgd.shared.walk.num_cores", lambda: 8)
    large = 1 << 25
    assert [num_hands(large, k) for k in (1, 2, 3, 4, 5, 8, 9)] == [4, 4, 2, 2, 1, 1, 1]
    by_size = [num_hands(n << 18, 1) for n in range(1, 24)]
    assert by_size[0] == 1
    assert all(later - sooner in (0, 1) for sooner, later in pairwise(by_size))


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("row", range(5))
def test_a_walk_in_parts_meets_every_stripe_once(segment: Segment, row: int, parts: int) -> None:
    stripes = Stripes(segment)
    walker = Walker(stripes, row)
    one_by_one = [k for k, _ in walker.order(None)]
    assert sorted(one_by_one) == list(range(len(stripes.bounds)))
    order = walker.order(parts)
    assert [k for at, count in order for k in range(at, at + count)] == one_by_one
    assert len(order) <= parts + 1
    stripes.close()


@pytest.mark.parametrize("hands", [1, HANDS])
@pytest.mark.parametrize("parts", [None, 1, 4])
def test_of_a_busy_part_only_the_busy_stripe_is_missed(
    segment: Segment, hands: int, parts: int | None
) -> None:
    stripes, other = Stripes(segment), Stripes(segment)
    walker, seen = Walker(stripes, 0), list[tuple[int, int]]()
    assert other.try_lock(4)

    def visit(start: int, stop: int) -> Passed:
        seen.append((start, stop))
        return stop, 0.0, 0.0

    walk = walker.walk(visit, hands, parts)
    assert walk.missed == [stripes.bounds[4]]
    assert walk.num_applied == N - (1 << 15)
    elements = np.zeros(N, np.int8)
    for start, stop in seen:
        elements[start:stop] += 1
    assert (elements == (np.arange(N) // (1 << 15) != 4)).all()
    walker.close()
    stripes.close()
    other.close()


def test_a_child_that_is_alone_takes_many_stripes_at_once() -> None:
    assert [num_parts(hands, 1) for hands in (1, 2, 4)] == [4, 4, 8]
    assert num_parts(1, 2) is None
