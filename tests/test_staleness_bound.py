"""``fleet.max_staleness``: who is too stale pulls before it pushes, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ray_easgd.algorithms import METHODS
from ray_easgd.config import Config
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.errors import BadConfig
from ray_easgd.hub import Hub
from ray_easgd.local import LocalLink
from ray_easgd.parameters import ParameterVector
from ray_easgd.recipe import algorithm_of
from ray_easgd.simulator import Cable, Level, Pace, Quadratic, Simulation
from ray_easgd.trace import Pushed
from tests.fakes import BookLeases, Points, Recorder, make_hub, make_session, small_model

EASGD = METHODS["easgd"]


def fleet(most: int | None, **options: Any) -> Simulation:
    """Four workers that only exchange: at rest from the outset, wherever somebody put them."""
    return Simulation(Quadratic(), EASGD, num_workers=4, lr=0.0, max_staleness=most, **options)


def mass(simulation: Simulation) -> Tensor:
    """What elastic exchanges conserve, where no gradient adds to it."""
    inner = [node.hub.vector for level in simulation.nodes for node in level]
    vectors = [*inner, *(worker.elastic.vector.flat for worker in simulation.workers)]
    return torch.stack([v.double() for v in vectors if v is not None]).sum(0)


def staleness(simulation: Simulation) -> list[int]:
    """Of all pushes that were applied."""
    records = (record for _, _, record in simulation.records)
    return [record.staleness for record in records if isinstance(record, Pushed)]


def taken_back(simulation: Simulation) -> int:
    return sum("takes it back" in event for event in simulation.story.events)


@settings(max_examples=40)
@given(
    most=st.integers(1, 6),
    latency_s=st.floats(0.1, 3.0),
    stopped_s=st.floats(1.0, 40.0),
    seed=st.integers(0, 99),
)
def test_no_push_is_older_than_allowed_and_none_is_lost(
    most: int, latency_s: float, stopped_s: float, seed: int
) -> None:
    options: dict[str, Any] = {"cable": Cable(latency_s=latency_s), "seed": seed, "period": 2}
    simulation = fleet(most, pace=Pace(jitter=0.3), **options)
    for k, worker in enumerate(simulation.workers):
        worker.elastic.vector.flat.add_(float(k + 1))
    before = mass(simulation)
    simulation.run(seconds=15)
    simulation.stop(simulation.workers[seed % 4], seconds=stopped_s)
    simulation.run(seconds=stopped_s + 30)
    for worker in simulation.workers:
        simulation.leave(worker)
    assert max(staleness(simulation)) <= most
    assert torch.allclose(mass(simulation), before, atol=1e-5)


def test_without_a_bound_the_same_fleet_has_older_ones() -> None:
    simulation = fleet(None, period=2, cable=Cable(latency_s=1.0), pace=Pace(jitter=0.3))
    simulation.run(seconds=60)
    assert max(staleness(simulation)) > 2
    assert not taken_back(simulation)


def test_an_aggregator_is_held_to_it_too() -> None:
    levels = [Level(fan_out=4, period=2), Level(fan_out=1, period=1)]
    simulation = fleet(1, levels=levels, cable=Cable(latency_s=1.5), pace=Pace(jitter=0.3))
    for k, worker in enumerate(simulation.workers):
        worker.elastic.vector.flat.add_(float(k + 1))
    simulation.run(seconds=120)
    assert taken_back(simulation)
    assert max(staleness(simulation)) <= 1


def tied(hub: Hub, name: str) -> Elastic:
    return Elastic(
        ParameterVector.bind(small_model()),
        LocalLink(hub, name),
        ElasticOptions(algorithm=EASGD, period=1, lead=2, ledger_seed=1),
        Recorder(),
    )


def interrupted(other: Elastic) -> Iterator[None]:
    """Somebody else meets the center three times between two steps of ours."""
    while True:
        for _ in range(3):
            other.vector.flat.add_(0.1)
            other.step()
        yield


@pytest.mark.parametrize("order", ["between_steps", "at_snapshot"])
def test_steps_and_data_of_a_push_taken_back_arrive_with_the_next_one(order: str) -> None:
    hub = make_hub(EASGD, max_staleness=2)
    session = make_session(EASGD, hub, period=4, total=128, lead=4, order=order)
    elastic, other = session.elastic(small_model()), tied(hub, "other")
    between = interrupted(other)
    for k, _ in enumerate(session.data(Points())):
        if k % 2:
            next(between)
        elastic.vector.flat.add_(0.01)
        elastic.step()
    elastic.finish()
    other.finish()
    assert isinstance(session.reporter, Recorder)
    assert "too_stale" in session.reporter.events
    assert isinstance(session.leases, BookLeases)
    assert (hub.progress.num_distinct, hub.progress.num_repeated) == (128, 0)
    assert hub.steps - other.clock == 128 // 8
    assert (hub.ledger_error() or 0.0) < 1e-6


def test_whoever_is_too_far_away_each_time_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others push more than the bound between its pull and its push: it gives its data back."""
    hub = make_hub(EASGD, max_staleness=1)
    session = make_session(EASGD, hub, period=4, total=32, lead=4)
    elastic, other = session.elastic(small_model()), tied(hub, "other")
    between, apply = interrupted(other), Hub.apply
    mine = min(hub.children)

    def apply_late(self: Hub, header: Any, d: Any) -> Any:
        if header.incarnation == mine:
            next(between)
        return apply(self, header, d)

    monkeypatch.setattr(Hub, "apply", apply_late)
    for _, _ in zip(range(3), session.data(Points()), strict=False):
        elastic.step()
    elastic.finish()
    assert isinstance(session.reporter, Recorder)
    told = session.reporter.events.count("too_stale")
    assert 1 < told < 6, "not each time"
    assert hub.progress.num_distinct == 0
    assert isinstance(session.leases, BookLeases)
    assert session.leases.book is not None
    assert session.leases.book.lease("another") is not None


@pytest.mark.parametrize(
    "words",
    [
        ["algorithm.name=downpour"],
        ["algorithm.name=easgd_sync"],
        ["algorithm.name=diloco_async"],
        ["topology.scheme=messages", "topology.levels=[{fan_out: 2, period: 4}]"],
    ],
)
def test_a_method_that_cannot_take_back_refuses_it(words: list[str]) -> None:
    with pytest.raises(BadConfig, match=r"fleet\.max_staleness = 3"):
        algorithm_of(Config.load(None, [*words, "fleet.max_staleness=3"]))
