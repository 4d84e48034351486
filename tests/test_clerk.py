"""A desk spoken to by messages: what a device's exchanges in the hub's memory are made of."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from ray_easgd.errors import HubLost
from ray_easgd.protocol import Interval, Outcome, PushHeader, Version
from ray_easgd.shared.clerk import Clerk
from ray_easgd.shared.hall import Hall
from ray_easgd.shared.segment import Segment
from tests.test_shared_exchange import STRIPE, N, busy, sit_down


@pytest.fixture
def segment() -> Iterator[Segment]:
    with Segment.create(N) as made:
        yield made


@pytest.fixture
def hall(segment: Segment) -> Hall:
    return Hall(segment)


def header(sequence: int, *, computed_from: int = 0) -> PushHeader:
    return PushHeader(
        incarnation=1,
        sequence=sequence,
        computed_from=Version(1, computed_from),
        steps=2,
        progress=(Interval(0, 8 * sequence, 8 * sequence + 8),),
    )


def test_what_finds_a_stripe_busy_goes_with_the_next_push(segment: Segment, hall: Hall) -> None:
    clerk, d = Clerk(sit_down(segment, hall, 1)), torch.full((N,), 7.0)
    with busy(segment, [0, 3]):
        assert clerk.apply(header(1), d).outcome is Outcome.APPLIED
    assert segment.vector.sum() == 7 * 2 * STRIPE
    assert (d == 7).all(), "its child keeps it until a snapshot shows it"
    clerk.apply(header(2), d)
    assert (segment.vector == 14).all()
    (news,) = hall.collect()
    assert (news.steps, len(news.intervals)) == (4, 2)


def test_the_rest_arrives_before_a_goodbye(segment: Segment, hall: Hall) -> None:
    clerk = Clerk(sit_down(segment, hall, 1))
    with busy(segment, [0, 3]):
        clerk.apply(header(1), torch.ones(N))
        clerk.settle()
    clerk.settle()
    assert (segment.vector == 1).all()
    with busy(segment, range(4)):
        clerk.apply(header(2), torch.ones(N))
    assert not clerk.desk.is_told
    clerk.settle()
    assert clerk.desk.is_told
    assert (segment.vector == 2).all()
    assert sum(n.steps for n in hall.collect()) == 4


def test_a_snapshot_and_what_it_shows_are_one_cut(segment: Segment, hall: Hall) -> None:
    clerk, out = Clerk(sit_down(segment, hall, 1)), torch.empty(N)
    with ThreadPoolExecutor(1) as pool:
        pushed = pool.submit(lambda: [clerk.apply(header(k), torch.ones(N)) for k in range(1, 101)])
        while not pushed.done():
            seen = clerk.fetch(out)
            assert (seen.vector == seen.header.applied[1]).all()
    assert [reply.outcome for reply in pushed.result()] == [Outcome.APPLIED] * 100


def test_staleness_counts_what_others_did_since_the_center_was_read(
    segment: Segment, hall: Hall
) -> None:
    clerk, other = Clerk(sit_down(segment, hall, 1)), sit_down(segment, hall, 2)
    seen = clerk.fetch(torch.empty(N)).header.version
    for _ in range(3):
        other.add(np.ones(N, np.float32), steps=1)
    assert clerk.apply(header(1, computed_from=seen.count), torch.ones(N)).staleness == 3


def test_a_dismissed_life_is_refused(segment: Segment, hall: Hall) -> None:
    clerk = Clerk(sit_down(segment, hall, 1))
    hall.dismiss(1)
    assert clerk.apply(header(1), torch.ones(N)).outcome is Outcome.REFUSED
    assert not segment.vector.any()


def test_nobody_reads_memory_that_is_given_back(segment: Segment, hall: Hall) -> None:
    clerk = Clerk(sit_down(segment, hall, 1))
    clerk.close()
    for act in (lambda: clerk.fetch(torch.empty(N)), lambda: clerk.apply(header(1), torch.ones(N))):
        with pytest.raises(HubLost):
            act()
    clerk.settle()
