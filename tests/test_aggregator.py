"""An aggregator between its children and its parent, without a cluster: when it moves, and what."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ray_easgd.aggregator import Aggregator
from ray_easgd.algorithms import METHODS
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.hub import Hub, options_for
from ray_easgd.local import LocalLink
from ray_easgd.parameters import ParameterVector
from ray_easgd.ports import NoData
from ray_easgd.protocol import Interval, Intervals
from tests.fakes import Recorder, small_model

PERIOD_UP = 4
IN_PLACE = [pytest.param(True, id="in_place"), pytest.param(False, id="messages")]


class Book(NoData):
    """The data of one worker: what it has trained on and told nobody of."""

    def __init__(self) -> None:
        self.news: list[Interval] = []

    def take_progress(self) -> Intervals:
        taken, self.news = self.news, []
        return tuple(taken)


class Tree:
    """Two children, one aggregator, one center; nobody calls the aggregator but its children."""

    def __init__(self, method: str = "easgd", *, in_place: bool) -> None:
        self.algorithm, self.in_place = METHODS[method], in_place
        self.center = Hub(options_for(self.algorithm))
        self.given_back: list[Intervals] = []
        self.aggregator = Aggregator(
            "aggregator",
            options_for(self.algorithm, has_parent=True, ledger_seed=1),
            LocalLink(self.center, "aggregator"),
            self._options(PERIOD_UP, 0),
            Recorder(),
            self.given_back.append,
        )
        self.books: list[Book] = []
        self.workers = [self.join(f"worker-{k}") for k in range(2)]

    def join(self, name: str) -> Elastic:
        link = LocalLink(self.aggregator, name, in_place=self.in_place)
        vector = ParameterVector.bind(small_model())
        self.books.append(Book())
        options = self._options(1, 0)
        return Elastic(vector, link, options, Recorder(), name=name, data=self.books[-1])

    def _options(self, period: int, lead: int) -> ElasticOptions:
        return ElasticOptions(
            algorithm=self.algorithm,
            period=period,
            order="between_steps",
            lead=lead,
            ledger_seed=1,
        )

    @property
    def vectors(self) -> list[Tensor]:
        assert self.center.vector is not None
        inner = self.aggregator.snapshot().vector
        return [*(w.vector.flat.clone() for w in self.workers), inner, self.center.vector.clone()]

    def scatter(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        for worker in self.workers:
            worker.vector.flat.add_(torch.randn(worker.vector.flat.shape, generator=generator))


@pytest.mark.parametrize("in_place", IN_PLACE)
def test_it_meets_its_parent_every_so_many_pushes_without_being_asked(in_place: bool) -> None:
    tree, versions = Tree(in_place=in_place), []
    for _ in range(5 * PERIOD_UP):
        for worker in tree.workers:
            worker.step(1.0)
            versions.append(tree.center.version.count)
    met = [k for k, (old, new) in enumerate(pairwise([0, *versions]), 1) if new > old]
    assert met == list(range(PERIOD_UP, 10 * PERIOD_UP + 1, PERIOD_UP))


@pytest.mark.parametrize("in_place", IN_PLACE)
def test_nothing_is_made_or_lost_on_the_way_up(in_place: bool) -> None:
    tree = Tree(in_place=in_place)
    tree.scatter()
    before = torch.stack(tree.vectors)
    for _ in range(200):
        for worker in tree.workers:
            worker.step(1.0)
    after = torch.stack(tree.vectors)
    assert torch.allclose(after.sum(0), before.sum(0), atol=1e-4)
    assert (after.std(0) < 0.05 * before.std(0) + 1e-6).all(), "all meet in the mean"


@pytest.mark.parametrize("in_place", IN_PLACE)
@pytest.mark.parametrize("pushes", range(1, 2 * PERIOD_UP))
def test_in_a_hurry_nothing_is_lost_of_what_its_children_brought(
    pushes: int, in_place: bool
) -> None:
    """However far it is from what is due; nor when it meets its parent for the last time."""
    tree = Tree(in_place=in_place)
    tree.scatter()
    before = torch.stack(tree.vectors).sum(0)
    for k in range(pushes):
        tree.workers[k % 2].step(1.0)
    tree.aggregator.proceed()
    tree.aggregator.hurry()
    tree.aggregator.proceed()
    assert torch.allclose(torch.stack(tree.vectors).sum(0), before, atol=1e-4)
    for worker in tree.workers:
        worker.step(1.0)
        worker.finish()
    assert not tree.center.children
    assert torch.allclose(torch.stack(tree.vectors).sum(0), before, atol=1e-4)


@pytest.mark.parametrize("method", ["easgd", "eamsgd", "downpour"])
@pytest.mark.parametrize("in_place", IN_PLACE)
def test_its_ledger_has_what_children_bring_and_what_its_parent_moves(
    method: str, in_place: bool
) -> None:
    tree = Tree(method, in_place=in_place)
    for round_ in range(20):
        tree.scatter(round_)
        for worker in tree.workers:
            worker.step(1.0)
    error = tree.aggregator.ledger_error()
    assert tree.center.version.count >= 5
    assert error is not None
    assert error < 1e-5
    assert tree.aggregator.vector is not None
    tree.aggregator.vector.add_(0.01)  # behind its back
    error = tree.aggregator.ledger_error()
    assert error is not None
    assert error > 1e-5


def test_in_place_or_by_messages_it_does_the_same() -> None:
    ends = []
    for in_place in (True, False):
        tree = Tree("eamsgd", in_place=in_place)
        for round_ in range(30):
            tree.scatter(round_)
            for worker in tree.workers:
                worker.step(1.0)
        ends.append(torch.stack(tree.vectors))
    assert torch.allclose(ends[0], ends[1], atol=1e-5)


@pytest.mark.parametrize("in_place", IN_PLACE)
def test_data_and_steps_of_the_leaves_reach_the_center_once(in_place: bool) -> None:
    """Also those of a child that comes and goes; the last leave takes all of it up."""
    tree = Tree(in_place=in_place)
    late = tree.join("worker-2")
    workers = [*tree.workers, late]
    for k in range(21):
        tree.books[k % 3].news.append(Interval(0, 32 * k, 32 * (k + 1)))
        workers[k % 3].step(1.0)
    for worker in workers:
        worker.finish()
    assert tree.aggregator.progress.num_distinct == 21 * 32
    assert tree.center.progress.num_distinct == 21 * 32
    assert tree.center.progress.num_repeated == 0
    assert tree.center.steps == 21
    assert tree.center.children == {}
    assert tree.given_back == []


@pytest.mark.parametrize("in_place", IN_PLACE)
def test_hurried_it_tells_its_parent_all_it_has(in_place: bool) -> None:
    tree = Tree(in_place=in_place)
    for _ in range(3):  # short of what is due
        tree.workers[0].step(1.0)
    assert tree.center.version.count == 0
    tree.aggregator.proceed()
    clock = tree.aggregator.hurry()
    tree.aggregator.proceed()
    assert tree.aggregator.has_told(clock)
    assert tree.center.version.count == 1
    assert tree.center.steps == 3


def test_a_child_that_is_lost_leaves_its_pushes() -> None:
    tree = Tree(in_place=True)
    tree.scatter()
    tree.workers[0].step(1.0)
    moved = tree.aggregator.snapshot().vector
    (lost, *_) = tree.aggregator.children
    tree.aggregator.dismiss(lost, lost=True)
    assert torch.equal(tree.aggregator.snapshot().vector, moved)
    assert tree.center.children, "the other one is still there"
