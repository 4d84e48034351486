"""A hub's successor that begins from an older center than a child has heard of."""

from __future__ import annotations

import pytest
import torch

from ray_easgd.algorithms import METHODS
from ray_easgd.algorithms.messages import by_messages
from ray_easgd.child import WINDOW, Child
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.hub import Hub, options_for
from ray_easgd.link import Snapshot
from ray_easgd.local import LocalLink
from ray_easgd.one_way import kind_of_tie
from ray_easgd.parameters import ParameterVector
from ray_easgd.protocol import PushHeader, Version
from tests.fakes import Recorder, make_hub, small_model

FREE = {name: method for name, method in METHODS.items() if method.rounds == "none"}
FREE["easgd by messages"] = by_messages(METHODS["easgd"])


def succeed(tie: Elastic, before: Hub, snapshot: Snapshot) -> Hub:
    """Its link leads to a hub that goes on from there, and knows it."""
    hub = Hub.recovered(
        before.options, snapshot, before.layout, before.children, epoch=2, born=before.born + 10
    )
    assert isinstance(tie.link, LocalLink)
    tie.link.hub = hub
    return hub


@pytest.mark.parametrize("name", FREE)
def test_a_child_whose_pushes_the_successor_lacks_for_good_begins_a_new_life(name: str) -> None:
    """The snapshot that showed them came after it had said what it holds. It would repeat the
    newer ones for ever, and the hub would never take them."""
    algorithm, reporter = FREE[name], Recorder()
    hub = make_hub(algorithm)
    model = ParameterVector.bind(small_model())
    options = ElasticOptions(algorithm=algorithm, period=1, period_down=1)
    tie = kind_of_tie(algorithm)(model, LocalLink(hub), options, reporter)
    first = hub.snapshot()
    for _ in range(4):
        model.flat.mul_(0.99)
        tie.step()
    successor = succeed(tie, hub, first)
    before = successor.version.count
    for _ in range(20):
        model.flat.mul_(0.99)
        tie.step()
    assert successor.version.count > before + 5, "it is heard again"
    assert reporter.events.count("new_life") <= 1
    assert tie.incarnation in successor.children


def test_answers_that_were_under_way_as_it_sent_again_mean_nothing() -> None:
    child = Child(1)
    for sequence in (1, 2):
        header = PushHeader(incarnation=1, sequence=sequence, computed_from=Version(1, 0), steps=1)
        child.retain(header, torch.zeros(1))
    assert child.can_fill(0)  # a successor's first word
    for _ in range(WINDOW):
        assert child.can_fill(2), "it has the one before"
        assert child.can_fill(1)


def test_a_push_from_a_newer_center_than_the_successors_is_not_stale() -> None:
    """By ``staleness_power`` it would count for more than all of it, or divide by zero."""
    options = options_for(METHODS["easgd"], staleness_power=1.0)
    hub = Hub(options)
    life = hub.admit("w", torch.zeros(4), ())
    successor = Hub.recovered(options, hub.snapshot(), (), hub.children, epoch=2, born=9)
    header = PushHeader(incarnation=life, sequence=1, computed_from=Version(1, 1), steps=1)
    reply = successor.apply(header, torch.ones(4))
    assert reply.staleness == 0
    assert successor.vector is not None
    assert successor.vector.tolist() == [1.0] * 4
