"""Exchanges in the hub's own memory: the same numbers as by messages, and the same books."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ray_easgd.algorithms import METHODS, Algorithm
from ray_easgd.algorithms.contract import Average, Order
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.hub import options_for
from ray_easgd.local import LocalLink
from ray_easgd.parameters import ParameterVector
from ray_easgd.protocol import Interval, PushHeader
from ray_easgd.session import Session
from ray_easgd.shared_hub import SharedHub
from tests.fakes import BookLeases, Points, Recorder, small_model
from tests.test_elastic import train

IN_PLACE = [m for m in METHODS.values() if m.in_place]
_DOWNPOURS = {"downpour", "adownpour", "mvadownpour"}
SEED = 1


def shared_hub(algorithm: Algorithm) -> SharedHub:
    return SharedHub(options_for(algorithm, ledger_seed=SEED))


def tie(
    hub: SharedHub,
    algorithm: Algorithm,
    *,
    in_place: bool = True,
    by_clerk: bool = False,
    order: Order = "between_steps",
) -> Elastic:
    return Elastic(
        ParameterVector.bind(small_model()),
        LocalLink(hub, in_place=in_place, by_clerk=by_clerk),
        ElasticOptions(algorithm=algorithm, period=2, order=order, lead=0, ledger_seed=SEED),
        Recorder(),
    )


def wander(worker: Elastic, steps: int, seed: int = 0) -> Tensor:
    """Pretend to train; returns where it ended."""
    generator = torch.Generator().manual_seed(seed)
    x = worker.vector.flat
    for _ in range(steps):
        x.add_(torch.randn(x.shape, generator=generator), alpha=0.1)
        worker.step(1.0)
    return x.clone()


def test_the_methods_that_exchange_in_place() -> None:
    assert {m.name for m in IN_PLACE} == {*("easgd", "eamsgd"), *_DOWNPOURS}


@pytest.mark.parametrize("order", ["between_steps", "at_snapshot"])
@pytest.mark.parametrize("algorithm", IN_PLACE, ids=lambda a: a.name)
def test_the_numbers_are_those_of_messages_to_the_bit(algorithm: Algorithm, order: Order) -> None:
    if algorithm.exchange.overwrites and order == "at_snapshot":
        return
    ends = []
    for where in ({"in_place": False}, {"in_place": True}, {"by_clerk": True}):
        hub = shared_hub(algorithm)
        workers = [tie(hub, algorithm, order=order, **where) for _ in range(2)]
        ends.append([wander(w, 3, seed=k) for _ in range(4) for k, w in enumerate(workers)])
        ends[-1].append(hub.snapshot().vector)
        assert hub.version.count == 12
        assert hub.header().applied == {1: 6, 2: 6}
        assert hub.steps == 24
    assert all(torch.equal(a, b) and torch.equal(b, c) for a, b, c in zip(*ends, strict=True))


def test_some_in_place_and_some_by_messages_keep_one_book() -> None:
    algorithm = METHODS["easgd"]
    hub = shared_hub(algorithm)
    near, far = tie(hub, algorithm), tie(hub, algorithm, in_place=False)
    for k in range(6):
        wander(near, 5, seed=k)
        wander(far, 5, seed=-k)
    far.finish()
    near.finish()
    assert hub.version.count == near.counts.exchanges + far.counts.exchanges == 30
    error = hub.ledger_error()
    assert error is not None
    assert error < 1e-6


@pytest.mark.parametrize("by_clerk", [False, True])
@pytest.mark.parametrize("algorithm", IN_PLACE, ids=lambda a: a.name)
def test_training_in_place_books_every_sample_once(algorithm: Algorithm, by_clerk: bool) -> None:
    hub = shared_hub(algorithm)
    session = Session(
        name="worker",
        index=0,
        seed=7,
        options=ElasticOptions(algorithm=algorithm, period=3, ledger_seed=SEED),
        links=[LocalLink(hub, in_place=True, by_clerk=by_clerk)],
        leases=BookLeases(256),
        reporter=Recorder(),
        batch_size=8,
    )
    train(session, momentum=algorithm.momentum)
    hub.collect()
    assert hub.progress.num_distinct == 4 * len(Points())
    assert hub.progress.num_repeated == 0
    assert hub.children == {}
    error = hub.ledger_error()
    assert error is not None
    assert error < 1e-6


def test_the_rate_follows_those_who_come_and_go() -> None:
    algorithm = METHODS["easgd"]
    hub = shared_hub(algorithm)
    first = tie(hub, algorithm)
    assert first.link.desk is not None
    assert first.link.desk.moving_rate == 0.5
    second = tie(hub, algorithm, in_place=False)
    assert first.link.desk.moving_rate == pytest.approx(0.45)
    second.finish()
    assert first.link.desk.moving_rate == 0.5


def test_pushes_by_message_are_versions_to_those_in_place() -> None:
    algorithm = METHODS["easgd"]
    hub = shared_hub(algorithm)
    near, far = tie(hub, algorithm), tie(hub, algorithm, in_place=False)
    wander(far, 4)
    assert near.link.desk is not None
    assert near.link.desk.version_count == hub.version.count == 2


def test_a_life_taken_for_dead_begins_anew_from_the_center() -> None:
    algorithm = METHODS["easgd"]
    hub = shared_hub(algorithm)
    worker = tie(hub, algorithm)
    wander(worker, 4)
    hub.dismiss(worker.incarnation, lost=True)
    before = hub.snapshot().vector
    worker.vector.flat.add_(100.0)
    worker.step()
    worker.step()
    assert worker.incarnation == 2
    assert torch.equal(worker.vector.flat, before)
    assert torch.equal(hub.snapshot().vector, before)
    wander(worker, 4)
    assert hub.header().applied[2] == 2


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_is_not_finite_never_reaches_the_center(poison: float) -> None:
    algorithm = METHODS["easgd"]
    hub = shared_hub(algorithm)
    worker = tie(hub, algorithm)
    wander(worker, 4)
    worker.vector.flat[3] = poison
    worker.step()
    worker.step()
    assert worker.counts.restarts == 1
    assert torch.equal(worker.vector.flat, hub.snapshot().vector)
    assert torch.isfinite(worker.vector.flat).all()


def test_a_loss_that_is_not_finite_starts_again_too() -> None:
    algorithm = METHODS["easgd"]
    hub = shared_hub(algorithm)
    worker = tie(hub, algorithm)
    start = hub.snapshot().vector
    worker.vector.flat.add_(1.0)
    worker.step(float("nan"))
    worker.step(0.5)
    assert worker.counts.restarts == 1
    assert torch.equal(hub.snapshot().vector, start)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("diloco", {}),
        ("easgd_sync", {}),
        ("easgd", {"staleness_power": 0.5}),
        ("easgd", {"traced": True}),
    ],
)
def test_a_center_that_does_more_than_add_up_gives_no_place(
    name: str, options: dict[str, object]
) -> None:
    hub = SharedHub(options_for(METHODS[name], **options))  # type: ignore[arg-type]
    life = hub.admit("w", torch.zeros(8), ())
    assert hub.give_place(life) is None
    assert hub.why_alone


def test_an_average_follows_a_center_that_a_child_moves_in_place() -> None:
    """At this rate it looks after every push: the average is that of the centers it saw."""
    rate = 0.5
    hub = SharedHub(options_for(METHODS["easgd"], average="moving", average_rate=rate))
    worker = tie(hub, METHODS["easgd"])
    expected = hub.snapshot().vector
    for seed in range(6):
        wander(worker, 2, seed)
        assert float(hub.state["t"]) == seed + 1  # before a snapshot makes it look
        expected.lerp_(hub.snapshot().vector, rate)
        judged = hub.judged
        assert judged is not None
        torch.testing.assert_close(judged, expected)
    assert hub.version.count == 6


@pytest.mark.parametrize("average", ["polyak", "moving"])
def test_an_average_counts_every_push_however_seldom_it_looks(average: Average) -> None:
    hub = SharedHub(options_for(METHODS["eamsgd"], average=average, average_rate=0.05))
    worker = tie(hub, METHODS["eamsgd"])
    start = hub.snapshot().vector
    wander(worker, 100)
    looked = float(hub.state["t"])
    assert 40 < looked <= 50  # it was told to look, with nobody asking for a snapshot
    judged, center = hub.judged, hub.snapshot().vector
    assert judged is not None
    assert hub.version.count == float(hub.state["t"]) == 50
    assert (judged - start).norm() < (center - start).norm()


def test_a_push_by_message_is_averaged_beside_those_in_place() -> None:
    hub = SharedHub(options_for(METHODS["easgd"], average="polyak", ledger_seed=SEED))
    near, far = (tie(hub, METHODS["easgd"], in_place=place) for place in (True, False))
    for seed in range(8):
        wander(near, 2, seed)
        wander(far, 2, seed)
    near.link.drain()
    assert hub.version.count == float(hub.state["t"])
    assert (gap := hub.ledger_error()) is not None
    assert gap < 1e-5


def test_a_snapshot_shows_what_a_busy_stripe_is_owed() -> None:
    """A push by message is in every snapshot after it, also while somebody holds the stripe."""
    from ray_easgd.shared.segment import Segment
    from ray_easgd.shared.stripes import Stripes

    hub = shared_hub(METHODS["easgd"])
    life = hub.admit("near", torch.zeros(100), ())
    place = hub.give_place(life)
    far = hub.admit("far", torch.zeros(100), ())
    assert place is not None
    segment = Segment.open(place.address)
    stripes = Stripes(segment)
    assert stripes.try_lock(0)
    header = PushHeader(
        incarnation=far,
        sequence=1,
        computed_from=hub.version,
        steps=1,
        progress=(Interval(0, 0, 5),),
        checksum=0.0,
    )
    hub.apply(header, torch.ones(100))
    assert hub.header().applied[far] == 1
    assert torch.equal(hub.snapshot().vector, torch.ones(100))
    assert float(segment.vector.sum()) == 0.0, "nobody writes where another is"
    stripes.unlock(0)
    hub.collect()
    assert float(segment.vector.sum()) == 100.0
    assert torch.equal(hub.snapshot().vector, torch.ones(100))


def test_a_hub_that_closes_keeps_its_vector() -> None:
    algorithm = METHODS["easgd"]
    hub = shared_hub(algorithm)
    worker = tie(hub, algorithm)
    wander(worker, 4)
    before = hub.snapshot().vector
    hub.close()
    assert torch.equal(hub.snapshot().vector, before)
