"""The hub's machine: a push counts once, whatever the wire does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ray_easgd.algorithms.contract import Add
from ray_easgd.child import WINDOW, Child
from ray_easgd.hub import Hub, HubOptions
from ray_easgd.moving_rate import moving_rate
from ray_easgd.parameters import Slot
from ray_easgd.protocol import Interval, Outcome, PushHeader, Version

LAYOUT = (Slot("w", (8,), 0, 8),)


def hub_with(children: int) -> tuple[Hub, list[Child]]:
    hub = Hub(HubOptions(center_step=Add(), ledger_seed=1))
    return hub, [Child(hub.admit(f"w{k}", torch.zeros(8), LAYOUT)) for k in range(children)]


def header(child: Child, *, sequence: int | None = None) -> PushHeader:
    return PushHeader(
        incarnation=child.incarnation,
        sequence=sequence or child.sequence + 1,
        computed_from=Version(1, 0),
        steps=1,
        progress=(Interval(0, child.sequence, child.sequence + 1),),
    )


def one_hot(k: int) -> Tensor:
    d = torch.zeros(8)
    d[k] = 1.0
    return d


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_push_is_applied_exactly_once_under_any_retries(data: st.DataObject) -> None:
    """Children send, lose answers, resend old ones, and pull, in any order."""
    hub, children = hub_with(3)
    sent = [0, 0, 0]
    for _ in range(data.draw(st.integers(1, 40))):
        k = data.draw(st.integers(0, 2))
        child = children[k]
        action = data.draw(st.sampled_from(["push", "replay", "pull"]))
        if action == "push" and child.may_push:
            push = header(child)
            child.retain(push, one_hot(k))
            sent[k] += 1
            if data.draw(st.booleans()):  # else it is lost on the way
                hub.apply(push, one_hot(k))
        elif action == "replay":
            for push, d in list(child.retained):
                assert hub.apply(push, d).outcome in (Outcome.APPLIED, Outcome.DUPLICATE)
        else:
            child.shown(hub.header())
    for child in children:
        for push, d in list(child.retained):
            hub.apply(push, d)
    assert hub.vector is not None
    assert hub.vector.int().tolist()[:3] == sent
    assert hub.version.count == sum(sent)


def test_a_second_arrival_is_a_duplicate_and_changes_nothing() -> None:
    hub, (child,) = hub_with(1)
    push = header(child)
    assert hub.apply(push, one_hot(0)).outcome is Outcome.APPLIED
    assert hub.apply(push, one_hot(0)).outcome is Outcome.DUPLICATE
    assert hub.duplicates == 1
    assert hub.progress.num_repeated == 0


def test_a_push_that_overtook_another_is_a_gap() -> None:
    hub, (child,) = hub_with(1)
    assert hub.apply(header(child, sequence=2), one_hot(0)).outcome is Outcome.GAP
    assert hub.version.count == 0


def test_a_dead_incarnation_is_refused() -> None:
    hub, (child, _) = hub_with(2)
    hub.dismiss(child.incarnation)
    assert hub.apply(header(child), one_hot(0)).outcome is Outcome.REFUSED
    assert hub.refused == 1


def test_staleness_counts_the_pushes_between() -> None:
    hub, (early, late) = hub_with(2)
    stale = header(late)
    for _ in range(3):
        push = header(early)
        early.retain(push, one_hot(0))
        hub.apply(push, one_hot(0))
        early.shown(hub.header())
    assert hub.apply(stale, one_hot(1)).staleness == 3


def test_the_moving_rate_follows_the_fleet() -> None:
    hub, (first, *_) = hub_with(4)
    assert hub.moving_rate == pytest.approx(0.9 / 4)
    hub.dismiss(first.incarnation)
    assert hub.moving_rate == pytest.approx(0.9 / 3)
    assert moving_rate(0.9, 1) == 0.5
    assert moving_rate(0.9, 16, has_parent=True) == pytest.approx(0.9 / 17)


def test_a_child_with_another_model_is_named() -> None:
    hub, _ = hub_with(1)
    with pytest.raises(ValueError, match="stranger has 5 parameters, the center 8"):
        hub.admit("stranger", torch.zeros(5), LAYOUT)


def test_the_ledger_notices_a_push_applied_behind_its_back() -> None:
    hub, _ = hub_with(1)
    assert hub.vector is not None
    assert hub.ledger_error() == pytest.approx(0.0)
    hub.vector[0] += 1.0
    error = hub.ledger_error()
    assert error is not None
    assert error > 0.1


def test_a_child_keeps_a_push_until_a_snapshot_shows_it() -> None:
    hub, (child,) = hub_with(1)
    before = hub.header()
    push = header(child)
    child.retain(push, one_hot(0))
    hub.apply(push, one_hot(0))
    child.shown(before)
    assert len(child.retained) == 1, "the hub may yet come back from that older snapshot"
    child.shown(hub.header())
    assert not child.retained


def test_the_window_closes_at_two_outstanding_pushes() -> None:
    _, (child,) = hub_with(1)
    for _ in range(WINDOW):
        assert child.may_push
        child.retain(header(child), one_hot(0))
    assert not child.may_push
    assert child.write_off() == pytest.approx(2**0.5)
    assert child.may_push
