"""A hub written down and gone on with, for every method."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from ray_easgd.algorithms import METHODS
from ray_easgd.child import Child
from ray_easgd.hub import Hub, HubOptions, options_for
from ray_easgd.parameters import Slot
from ray_easgd.protocol import Interval, Outcome, PushHeader, Version
from ray_easgd.saved_hub import SavedHub, resume, save

LAYOUT = (Slot("w", (8,), 0, 8),)
TOGETHER = [name for name, method in METHODS.items() if method.rounds == "none"]


def push(hub: Hub, child: Child, d: Tensor) -> Outcome:
    header = PushHeader(
        incarnation=child.incarnation,
        sequence=child.sequence + 1,
        computed_from=hub.version,
        steps=3,
        progress=(Interval(0, 10 * child.sequence, 10 * child.sequence + 10),),
    )
    child.sequence += 1
    return hub.apply(header, d).outcome


def written_down(saved: SavedHub) -> SavedHub:
    record = json.loads(json.dumps(saved.as_record()))
    return SavedHub.from_record(record, saved.vector, saved.state)


def life(hub: Hub, name: str) -> Child:
    return Child(hub.admit(name, torch.zeros(8), LAYOUT))


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("average", [None, "moving"])
def test_a_hub_goes_on_from_what_was_saved(name: str, average: str | None) -> None:
    options = options_for(METHODS[name], average=average)  # type: ignore[arg-type]
    hub, generator = Hub(options), torch.Generator().manual_seed(1)
    children = [life(hub, f"w{k}") for k in range(2)]
    for k in range(6):
        assert push(hub, children[k % 2], torch.randn(8, generator=generator)) is Outcome.APPLIED
    saved = written_down(save(hub))
    again = Hub(options)
    resume(again, saved, LAYOUT)
    assert again.vector is not None
    assert hub.vector is not None
    assert torch.equal(again.vector, hub.vector)
    assert again.judged is not None
    assert hub.judged is not None
    assert torch.equal(again.judged, hub.judged)
    assert again.version == Version(hub.version.epoch + 1, hub.version.count)
    assert (again.steps, again.children) == (18, {})
    assert again.progress.seen == hub.progress.seen
    # An old life is over, a new one has a number of its own and begins at the center.
    assert push(again, children[0], torch.ones(8)) is Outcome.REFUSED
    newcomer = life(again, "w0")
    assert newcomer.incarnation > max(child.incarnation for child in children)
    assert torch.equal(again.snapshot().vector, hub.vector)
    assert push(again, newcomer, torch.ones(8)) is Outcome.APPLIED
    assert bool(torch.isfinite(again.vector).all())


def test_what_is_saved_does_not_move_with_the_hub() -> None:
    hub = Hub(HubOptions(center_step=METHODS["easgd"].center_step))
    child = life(hub, "w")
    push(hub, child, torch.ones(8))
    saved = save(hub)
    push(hub, child, torch.ones(8))
    assert saved.vector.tolist() == [1.0] * 8
    assert saved.version.count == 1
    assert saved.progress.num_distinct == 10


def test_a_resumed_hub_moves_as_the_first_one_would() -> None:
    options = options_for(METHODS["mdownpour"])
    hub, generator = Hub(options), torch.Generator().manual_seed(2)
    first = life(hub, "w")
    for _ in range(3):
        push(hub, first, torch.randn(8, generator=generator))
    again = Hub(options)
    resume(again, written_down(save(hub)), LAYOUT)
    second = life(again, "w")
    for _ in range(3):
        d = torch.randn(8, generator=generator)
        push(hub, first, d.clone())
        push(again, second, d)
    assert hub.vector is not None
    assert again.vector is not None
    assert torch.equal(again.vector, hub.vector), "the momentum in the center went on too"
