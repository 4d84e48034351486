"""Rounds at the hub: nobody's push is lost, doubled or left out, in whatever order they come."""

from __future__ import annotations

from itertools import count

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from torch import Tensor

from ray_easgd.algorithms import METHODS
from ray_easgd.algorithms.contract import Add, Rounds
from ray_easgd.child import Child
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.hub import Hub, HubOptions
from ray_easgd.link import Snapshot
from ray_easgd.local import LocalLink
from ray_easgd.parameters import ParameterVector, Slot
from ray_easgd.protocol import Outcome, PushHeader, PushReply, Version
from tests.fakes import Recorder, make_hub, small_model

SIZE = 64
LAYOUT = (Slot("w", (SIZE,), 0, SIZE),)


def hub_with(children: int, rounds: Rounds = "together") -> tuple[Hub, list[Child]]:
    hub = Hub(HubOptions(center_step=Add(), rounds=rounds, traced=True))
    return hub, [born(hub, f"w{k}") for k in range(children)]


def born(hub: Hub, name: str) -> Child:
    return Child(hub.admit(name, torch.zeros(SIZE), LAYOUT))


def header(child: Child) -> PushHeader:
    return PushHeader(
        incarnation=child.incarnation,
        sequence=child.sequence + 1,
        computed_from=Version(1, 0),
        steps=1,
    )


def one_hot(k: int) -> Tensor:
    return torch.eye(SIZE)[k]


def push(hub: Hub, child: Child, d: Tensor | None = None) -> PushReply:
    """One push that arrives; by default a count of its life's."""
    d, sent = one_hot(child.incarnation) if d is None else d, header(child)
    child.retain(sent, d)
    return hub.apply(sent, d)


def center(hub: Hub) -> Tensor:
    assert hub.vector is not None
    return hub.vector


def tie(hub: Hub, name: str, method: str = "easgd_sync", period: int = 1) -> Elastic:
    options = ElasticOptions(algorithm=METHODS[method], period=period)
    vector = ParameterVector.bind(small_model())
    return Elastic(vector, LocalLink(hub, name), options, Recorder(), name=name)


# -- together ----------------------------------------------------------------------------------


def test_a_round_is_applied_once_the_last_child_has_pushed() -> None:
    hub, (first, second, third) = hub_with(3)
    assert push(hub, first).outcome is Outcome.GATHERED
    assert push(hub, third).outcome is Outcome.GATHERED
    assert not center(hub).any()
    assert hub.version.count == 0
    assert not hub.shows(first.incarnation, 1)
    assert push(hub, second).outcome is Outcome.APPLIED
    assert center(hub).int().tolist()[1:4] == [1, 1, 1]
    assert hub.version.count == 3
    assert all(hub.shows(child.incarnation, 1) for child in (first, second, third))


@settings(max_examples=100, deadline=None)
@given(order=st.permutations(range(6)))
def test_the_order_of_arrival_leaves_no_trace_in_the_center(order: list[int]) -> None:
    """float32 sums depend on their order: the hub's is that of births, whatever the wire does."""
    generator = torch.Generator().manual_seed(1)
    scales = torch.logspace(-4, 4, 6)[:, None]
    differences = scales * torch.randn(6, SIZE, generator=generator)
    hub, children = hub_with(6)
    for k in order:
        push(hub, children[k], differences[k])
    expected = differences[0].clone()
    for d in differences[1:]:
        expected += d
    assert torch.equal(center(hub), expected)
    assert [r.header.incarnation for r in hub.take_trace()[6:]] == [1, 2, 3, 4, 5, 6]  # type: ignore[union-attr]


def test_a_gathered_push_that_comes_again_is_a_duplicate() -> None:
    hub, (first, second) = hub_with(2)
    push(hub, first)
    assert hub.apply(*first.retained[0]).outcome is Outcome.DUPLICATE
    push(hub, second)
    assert hub.apply(*first.retained[0]).outcome is Outcome.DUPLICATE
    assert center(hub).int().tolist()[1:3] == [1, 1]
    assert hub.duplicates == 2


@pytest.mark.parametrize("lost", [False, True])
def test_a_child_that_is_gone_holds_up_nobody(lost: bool) -> None:
    hub, (first, second, third) = hub_with(3)
    push(hub, first)
    push(hub, second)
    hub.dismiss(third.incarnation, lost=lost)
    assert center(hub).int().tolist()[1:4] == [1, 1, 0]
    assert hub.apply(header(third), one_hot(3)).outcome is Outcome.REFUSED


def test_what_a_child_pushed_before_it_was_gone_still_counts() -> None:
    hub, (first, second, third) = hub_with(3)
    push(hub, first)
    hub.dismiss(first.incarnation, lost=True)
    assert hub.version.count == 0, "two are still missing"
    push(hub, second)
    push(hub, third)
    assert center(hub).int().tolist()[1:4] == [1, 1, 1]
    push(hub, second)
    push(hub, third)
    assert center(hub).int().tolist()[1:4] == [1, 2, 2]


def test_a_joiner_in_the_middle_of_a_round_is_waited_for() -> None:
    hub, (first, second) = hub_with(2)
    push(hub, first)
    late = born(hub, "late")
    assert push(hub, second).outcome is Outcome.GATHERED
    assert push(hub, late).outcome is Outcome.APPLIED
    assert center(hub).int().tolist()[1:4] == [1, 1, 1]


def test_a_second_push_before_the_round_is_complete_does_not_replace_the_first() -> None:
    """No ``Elastic`` sends one; a hub must not lose it nevertheless (child.WINDOW is 2)."""
    hub, (first, second) = hub_with(2)
    push(hub, first)
    assert push(hub, first).outcome is Outcome.GAP
    push(hub, second)
    for sent in list(first.retained):
        hub.apply(*sent)
    push(hub, second)
    assert center(hub).int().tolist()[1:3] == [2, 2]


class RoundsMachine(RuleBasedStateMachine):
    """Children push, resend, pull, join, leave and die, and the hub itself is lost and recovered.

    The center counts each life's pushes. ``doomed`` are lives that a lost hub took along: of
    those a push may be gone, but none may count twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hub, children = hub_with(2)
        self.children = {child.incarnation: child for child in children}
        self.held = {life: self.hub.snapshot() for life in self.children}
        self.sent: dict[int, int] = dict.fromkeys(self.children, 0)
        self.doomed: set[int] = set()
        self.epochs = count(2)

    def chosen(self, data: st.DataObject) -> Child:
        return self.children[data.draw(st.sampled_from(sorted(self.children)))]

    @precondition(lambda self: self.children)
    @rule(data=st.data(), arrives=st.booleans())
    def push(self, data: st.DataObject, arrives: bool) -> None:
        child = self.chosen(data)
        if child.retained:
            return  # in rounds a child waits until its last push is shown
        sent, d = header(child), one_hot(child.incarnation)
        child.retain(sent, d)
        self.sent[child.incarnation] += 1
        if arrives:
            assert self.hub.apply(sent, d).outcome in (Outcome.APPLIED, Outcome.GATHERED)

    @precondition(lambda self: self.children)
    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        for sent, d in list(self.chosen(data).retained):
            assert self.hub.apply(sent, d).outcome is not Outcome.GAP

    @precondition(lambda self: self.children)
    @rule(data=st.data())
    def pull(self, data: st.DataObject) -> None:
        child = self.chosen(data)
        self.held[child.incarnation] = self.hub.snapshot()
        child.shown(self.hub.header())

    @precondition(lambda self: len(self.sent) < SIZE - 1)
    @rule()
    def join(self) -> None:
        child = born(self.hub, "late")
        assert child.incarnation not in self.sent
        self.children[child.incarnation] = child
        self.held[child.incarnation] = self.hub.snapshot()
        self.sent[child.incarnation] = 0

    @precondition(lambda self: len(self.children) > 1)
    @rule(data=st.data(), lost=st.booleans())
    def depart(self, data: st.DataObject, lost: bool) -> None:
        child = self.chosen(data)
        if child.retained and not lost:
            self.resend_all(child)  # a goodbye comes after the last push
        self.hub.dismiss(child.incarnation, lost=lost)
        self.doomed |= {child.incarnation} if lost else set()
        self.forget(child.incarnation)

    @precondition(lambda self: self.children)
    @rule(data=st.data())
    def lose_the_hub(self, data: st.DataObject) -> None:
        """Some children answer; the others were stopped, and are not part of the new epoch."""
        lives = sorted(self.children)
        answering = data.draw(st.sets(st.sampled_from(lives), min_size=1))
        newest = max((self.held[k] for k in answering), key=self.version_of)
        survivors = dict.fromkeys(sorted(answering), "w")
        self.doomed |= set(self.sent) - answering
        epoch = next(self.epochs)
        options, born = self.hub.options, self.hub.born
        self.hub = Hub.recovered(options, newest, LAYOUT, survivors, epoch=epoch, born=born)
        for life in set(lives) - answering:
            self.forget(life)
        for child in self.children.values():
            self.resend_all(child)

    @invariant()
    def nothing_counts_twice(self) -> None:
        counted = center(self.hub).int().tolist()
        assert all(counted[life] <= sent for life, sent in self.sent.items())

    def teardown(self) -> None:
        for child in self.children.values():
            self.resend_all(child)
        for life in list(self.children):
            self.hub.dismiss(life)
        counted = center(self.hub).int().tolist()
        exact = self.sent.keys() - self.doomed
        assert {k: counted[k] for k in exact} == {k: self.sent[k] for k in exact}

    def resend_all(self, child: Child) -> None:
        for sent, d in list(child.retained):
            assert self.hub.apply(sent, d).outcome is not Outcome.GAP

    def forget(self, life: int) -> None:
        del self.children[life], self.held[life]

    @staticmethod
    def version_of(snapshot: Snapshot) -> Version:
        return snapshot.header.version


def test_every_push_counts_once_under_any_retries_joins_leaves_and_losses() -> None:
    checks = settings(max_examples=150, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(RoundsMachine, settings=checks)


def test_a_number_is_given_to_one_life_only() -> None:
    """The last to join was stopped when the hub was lost, and nobody's snapshot shows it."""
    hub, (first,) = hub_with(1)
    held = hub.snapshot()
    stopped = born(hub, "stopped")
    children = {first.incarnation: "w0"}
    again = Hub.recovered(hub.options, held, LAYOUT, children, epoch=2, born=hub.born)
    assert born(again, "new").incarnation != stopped.incarnation


# -- in turn -----------------------------------------------------------------------------------


def whose_turn(hub: Hub, children: list[Child]) -> list[int]:
    """Of those who live, who is shown the center."""
    living = [child for child in children if child.incarnation in hub.children]
    return [c.incarnation for c in living if hub.shows(c.incarnation, c.sequence)]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_one_child_at_a_time_is_shown_the_center(data: st.DataObject) -> None:
    """And after its push the next in the order of birth, in a circle, whoever comes or goes."""
    hub, children = hub_with(3, "in_turn")
    for _ in range(data.draw(st.integers(1, 20))):
        (turn,) = whose_turn(hub, children)
        action = data.draw(st.sampled_from(["push", "push", "join", "leave"]))
        if action == "join":
            children.append(born(hub, "late"))
        elif action == "leave" and len(hub.children) > 1:
            hub.dismiss(data.draw(st.sampled_from(sorted(hub.children))))
        else:
            child = children[turn - 1]
            push(hub, child)
            child.shown(hub.header())
            later = [life for life in hub.children if life > turn]
            assert whose_turn(hub, children) == [min(later or hub.children)]
    assert len(whose_turn(hub, children)) == 1


def test_a_dead_life_waits_for_nothing() -> None:
    hub, (first, second) = hub_with(2, "in_turn")
    assert not hub.shows(second.incarnation, 0)
    hub.dismiss(second.incarnation)
    assert hub.shows(second.incarnation, 0), "so that its next push is refused, and tells it"
    assert hub.shows(first.incarnation, 0)


# -- one thread --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["easgd_sync", "local_sgd", "gauss_seidel", "admm"])
def test_a_thread_that_would_wait_for_itself_is_told(method: str) -> None:
    hub = make_hub(METHODS[method])
    children = [tie(hub, f"worker-{k}", method) for k in range(2)]
    waits = children[1] if METHODS[method].rounds == "in_turn" else children[0]
    for _ in range(1 + waits.options.period):
        if not waits.waiting:
            waits.step()
    with pytest.raises(RuntimeError, match=rf"{waits.name} waits for a round"):
        waits.settle()


def test_two_in_one_thread_go_on_where_each_steps_before_anybody_waits() -> None:
    hub = make_hub(METHODS["easgd_sync"])
    children = [tie(hub, f"worker-{k}") for k in range(2)]
    for _ in range(5):
        for child in children:
            child.step()
        for child in children:
            child.settle()
    assert hub.version.count == 10
