"""Which data the hub is told of by exchanges in its memory: what is in the center, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from torch import Tensor

from ray_easgd.algorithms import METHODS
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.hub import options_for
from ray_easgd.kernels import Checksum
from ray_easgd.local import LocalLink
from ray_easgd.parameters import ParameterVector
from ray_easgd.protocol import Interval
from ray_easgd.shared.board import RING
from ray_easgd.shared.segment import Segment
from ray_easgd.shared.stripes import Stripes
from ray_easgd.shared_hub import Place, SharedHub
from tests.fakes import Recorder, small_model

EASGD = METHODS["easgd"]


@dataclass
class Pages:
    """A data book that keeps what it is given back."""

    now: list[Interval] = field(default_factory=list)
    back: list[Interval] = field(default_factory=list)

    def take_progress(self) -> tuple[Interval, ...]:
        taken, self.now = tuple(self.now), []
        return taken

    def take_steps(self, clock: int) -> int:
        return clock

    def give_back(self, intervals: tuple[Interval, ...]) -> None:
        self.back += intervals


class OneWorker:
    """A worker at a shared hub that exchanges after each step."""

    def __init__(self, child: str = "worker", hub: SharedHub | None = None) -> None:
        self.hub = hub or SharedHub(options_for(EASGD, ledger_seed=1))
        self.data, self.told = Pages(), Recorder()
        vector = ParameterVector.bind(small_model())
        link = LocalLink(self.hub, child, in_place=True)
        options = ElasticOptions(algorithm=EASGD, period=1, lead=0, ledger_seed=1)
        self.tie = Elastic(vector, link, options, self.told, data=self.data)

    def train(self, start: int, *, loss: float = 1.0, by: float = 1.0) -> None:
        """A step on the eight samples from ``start`` on."""
        self.tie.vector.flat.add_(by)
        self.data.now.append(Interval(0, start, start + 8))
        self.tie.step(loss)

    @property
    def booked(self) -> list[tuple[int, int]]:
        self.hub.collect()
        return list(self.hub.progress.seen.get(0, ()))


@pytest.fixture
def worker() -> OneWorker:
    return OneWorker()


@contextmanager
def every_stripe_held(hub: SharedHub) -> Iterator[None]:
    place = hub.give_place(hub.admit("stopped", hub.snapshot().vector, ()))
    assert isinstance(place, Place)
    with Segment.open(place.address) as segment:
        stripes = Stripes(segment)
        assert all(stripes.try_lock(k) for k in range(len(stripes.bounds)))
        yield
        stripes.close()


def test_steps_that_reached_no_stripe_and_are_dropped_are_given_back(worker: OneWorker) -> None:
    with every_stripe_held(worker.hub):
        worker.train(0)
    worker.train(8, loss=float("nan"))
    worker.train(16, by=0.0)
    assert worker.booked == [(16, 24)]
    assert worker.data.back == [Interval(0, 0, 8), Interval(0, 8, 16)]
    assert worker.hub.steps == 1


def test_a_flush_tells_what_the_row_had_no_room_for(worker: OneWorker) -> None:
    for k in range(2 * RING):
        worker.train(16 * k)
    worker.tie.flush()
    assert sum(b - a for a, b in worker.booked) == 2 * RING * 8
    assert worker.data.back == []


def test_a_goodbye_tells_it_too(worker: OneWorker) -> None:
    for k in range(2 * RING):
        worker.train(16 * k)
    worker.tie.link.leave()
    assert sum(b - a for a, b in worker.booked) == 2 * RING * 8


def test_a_flush_that_reaches_no_stripe_gives_the_data_back(worker: OneWorker) -> None:
    start = worker.hub.snapshot().vector
    with every_stripe_held(worker.hub):
        worker.train(0)
        worker.tie.finish()
    assert worker.booked == []
    assert worker.data.back == [Interval(0, 0, 8)]
    assert bool((worker.hub.snapshot().vector == start).all())


def test_a_flush_comes_back_for_a_stripe_that_was_busy(worker: OneWorker) -> None:
    with every_stripe_held(worker.hub):
        worker.train(0)
    worker.tie.flush()
    assert worker.booked == [(0, 8)]
    assert worker.data.back == []


def test_a_life_taken_for_dead_gives_back_what_the_hub_was_not_told(worker: OneWorker) -> None:
    for k in range(2 * RING):
        worker.train(16 * k)
    worker.hub.dismiss(worker.tie.incarnation, lost=True)
    worker.train(8)
    told, back = worker.booked, worker.data.back
    assert sum(b - a for a, b in told) + sum(map(len, back)) == 2 * RING * 8 + 8
    assert told
    assert back


def test_a_torn_exchange_costs_the_ledger_nothing_of_the_others() -> None:
    """Whatever order the rows are read in."""
    torn = OneWorker("torn")
    other = OneWorker("other", torn.hub)
    torn.train(0)
    other.train(8, by=5.0)
    segment = torn.hub._segment
    assert segment is not None
    torn_row = 0
    segment.board.entered[torn_row] = segment.board.sequence[torn_row] + 1
    torn.hub.dismiss(torn.tie.incarnation, lost=True)
    error = torn.hub.ledger_error()
    assert error is not None
    assert error < 1e-6


def test_a_ledger_that_begins_again_while_others_exchange_waits_for_a_still_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torn = OneWorker("torn")
    other = OneWorker("other", torn.hub)
    torn.train(0)
    segment, sum_up = torn.hub._segment, Checksum.__call__
    assert segment is not None

    def sum_up_late(self: Checksum, vector: Tensor) -> float:
        if inside:
            inside.pop()
            other.train(8, by=5.0)
        return sum_up(self, vector)

    inside = [True]
    monkeypatch.setattr(Checksum, "__call__", sum_up_late)
    segment.board.entered[0] = segment.board.sequence[0] + 1
    torn.hub.dismiss(torn.tie.incarnation, lost=True)
    torn.hub.collect()
    assert not inside, "another exchanged while the vector was summed up"
    error = torn.hub.ledger_error()
    assert error is not None
    assert error < 1e-6
