"""Words to an actor come from many, in any order: the newest counts, and who is too soon waits."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import ray
from ray.exceptions import ActorUnavailableError

from actors.center import Center
from actors.controller import Controller, start_controller
from actors.hub_status import HubStatus
from actors.lifecycle import as_actor, beside_the_driver, end_process
from actors.posts import Hub, Posts
from actors.succession import Legacy
from actors.words import Book, Memory, WorkerStatus
from ray_easgd.algorithms.contract import Add
from ray_easgd.hub import HubOptions
from ray_easgd.parameters import Slot
from ray_easgd.progress import Progress
from ray_easgd.protocol import Interval, Version

CLUSTER = pytest.mark.cluster
LAYOUT = (Slot(name="w", offset=0, size=4, shape=(4,)),)


def center(life: int) -> Hub:
    return Hub(name="center", handle=f"process {life}", parent="", is_leaf=False, life=life)


@pytest.mark.parametrize("order", [*permutations((1, 2, 3))])
def test_the_newest_life_counts_in_whatever_order_words_arrive(order: tuple[int, ...]) -> None:
    posts = Posts(0)
    for life in order:
        posts.put(center(life))
    assert posts.centers == ("process 3",)
    assert posts.successor("center", 2) == center(3)


def test_who_asks_for_the_successor_of_one_not_heard_of_yet_waits() -> None:
    posts = Posts(0)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(posts.successor, "center", 1)
        posts.put(center(1))
        assert not asked.done()
        posts.put(center(2))
        assert asked.result() == center(2)


@CLUSTER
def test_who_asks_a_controller_before_it_was_told_of_the_run_waits(cluster: None) -> None:
    """A worker may be sooner than the driver, whose word holds what a resumed run has seen."""
    seen = Progress()
    seen.add([Interval(0, 0, 60)])
    kind: Any = as_actor(
        Controller,
        num_cpus=0,
        max_concurrency=4,
        concurrency_groups={"waiting": 2, "control": 2, "pulse": 1},
        scheduling_strategy=beside_the_driver(),
    )
    controller = kind.remote("late", None, False)
    try:
        data = 100, 10, 1
        opened = controller.open_data.remote(*data)
        book, _, _ = ray.get(controller.observe.remote())
        assert book.remembers  # or the driver would remind it
        assert not book.opened
        controller.begin.remote((), seen)
        ray.get(opened)
        lease: Any = ray.get(controller.lease.remote(("worker-0", 1), False, data))
        assert lease.start == 60
    finally:
        end_process(controller)


class _Keeper:
    """Who was given that snapshot."""

    def __init__(self, header: Any, vector: Any) -> None:
        self._held = header, ray.get(vector)

    @property
    def newest(self) -> Any:
        return self

    def remote(self, hub: str, part: int) -> Any:
        return ray.put(self._held)


CHILDREN = {1: "worker-1", 2: "worker-2"}


@CLUSTER
def test_nobody_joins_or_is_lost_before_a_successor_has_taken_over(cluster: None) -> None:
    """A new worker and the driver's word of a loss may be sooner than what the children hold."""
    options = HubOptions(center_step=Add())
    before: Any = Center("one", options)
    center: Any = Center("two", options, life=2)
    _, (_, header, (vector,), _) = [joined(before, name) for name in CHILDREN.values()]
    legacy = Legacy(
        layout=LAYOUT,
        lives=(CHILDREN,),
        afar=(CHILDREN,),
        addresses=(),
        keepers=((_Keeper(header, vector),),),
        versions=(header.version,),
        in_memory=False,
    )
    with ThreadPoolExecutor() as pool:
        newcomer, lost = pool.submit(joined, center, "worker-3"), pool.submit(lose, center)
        assert not center.status().children
        assert center.recover("center", legacy, 2, legacy.youngest, None) == ""
        assert lost.result() == [1]
        incarnation, header, _, _ = newcomer.result()
    assert incarnation > legacy.youngest
    assert header.version.epoch == 2
    assert center.status().children == {2: "worker-2", incarnation: "worker-3"}


@CLUSTER
def test_who_joins_again_has_one_life(cluster: None) -> None:
    """The answer to its first join was lost, say: in rounds all would wait for that life."""
    center: Any = Center("twice", HubOptions(center_step=Add()))
    for name in ("worker-1", "worker-2", "worker-1"):
        joined(center, name)
    assert center.status().children == {2: "worker-2", 3: "worker-1"}


@CLUSTER
def test_a_loss_that_is_told_late_leaves_who_came_in_its_place(cluster: None) -> None:
    center: Any = Center("late", HubOptions(center_step=Add()))
    joined(center, "worker-1")
    known = center.status().lives_of("worker-1")
    joined(center, "worker-1")
    assert center.lose("worker-1", known) == []
    assert center.lose("worker-2", [[2]]) == [], "of another hub's numbering"
    assert center.status().children == {2: "worker-1"}


def joined(center: Any, name: str) -> Any:
    return center.join(name, np.ones(4, np.float32), LAYOUT)


def lose(center: Any) -> Any:
    return center.lose("worker-1", [[1]])


@pytest.fixture
def controller(cluster: None) -> Iterator[Any]:
    """One that has come back and knows nothing: it had died."""
    found: Any = start_controller("back", (), total_samples=None, bounded=False)
    assert ray.get(found.observe.remote())[0].remembers
    ray.kill(found, no_restart=False)
    while True:
        with suppress(ActorUnavailableError):
            if not ray.get(found.observe.remote())[0].remembers:
                break
    yield found
    end_process(found)


def memory(**book: Any) -> Memory:
    seen = Progress()
    seen.add([Interval(0, 0, 60)])
    return Memory(hubs=(), workers=(), book=Book(**book), progress=seen, held={})


def center_status(epoch: int, progress: Progress) -> HubStatus:
    nothing: dict[str, Any] = dict.fromkeys(
        ("steps", "duplicates", "refused", "snapshots", "num_parameters"), 0
    )
    return HubStatus(
        version=Version(epoch, 1), progress=progress, lives=({},), moving_rate=0.5, **nothing
    )


OPENED: dict[str, Any] = {
    "opened": True,
    "total": 100,
    "num_samples": 100,
    "batch_size": 10,
    "epoch": 1,
}


@CLUSTER
def test_what_was_asked_of_a_controller_before_it_was_reminded_stays_asked(controller: Any) -> None:
    ray.get([controller.stop.remote(), controller.scale.remote(3)])
    ray.get(controller.restore.remote(memory(wanted=2, **OPENED)))
    ray.get(controller.restore.remote(memory(opened=False)))  # once is enough
    book, _, _ = ray.get(controller.observe.remote())
    assert (book.stopped, book.wanted, book.opened) == (True, 3, True)


@CLUSTER
def test_data_that_a_lost_center_alone_had_is_handed_out_although_the_controller_died_too(
    controller: Any,
) -> None:
    ray.get(controller.restore.remote(memory(**OPENED)))
    kept = Progress()
    kept.add([Interval(0, 0, 40)])
    ray.get(controller.observe.remote(center_status(epoch=2, progress=kept)))
    lease: Any = ray.get(controller.lease.remote(("worker-0", 1), False, (100, 10, 1)))
    assert lease.start == 40


@CLUSTER
def test_a_controller_that_nobody_told_of_the_data_hears_it_from_who_asks(controller: Any) -> None:
    ray.get(controller.restore.remote(memory(opened=False)))
    lease: Any = ray.get(controller.lease.remote(("worker-0", 1), False, (100, 10, 1)))
    assert lease.start == 60


@CLUSTER
def test_the_loss_of_one_life_costs_the_next_nothing(controller: Any) -> None:
    ray.get(controller.restore.remote(memory(**OPENED)))
    lives = [("worker-0", life) for life in (1, 2)]
    first, second = [ray.get(controller.lease.remote(life, False, (100, 10, 1))) for life in lives]
    ray.get(controller.release.remote(lives[0]))
    assert ray.get(controller.lease.remote(lives[0], False, (100, 10, 1))) is None, "come late"
    again = ray.get(controller.lease.remote(lives[1], False, (100, 10, 1)))
    assert again == first != second


@CLUSTER
def test_a_reminded_controller_knows_the_lives_that_ended_too(controller: Any) -> None:
    """Or what they did would be missing from the run's sums."""
    lives = tuple(
        WorkerStatus(name="worker-1", life=life, device="cpu", step=10 * life, hub="center")
        for life in (1, 2)
    )
    ray.get(controller.restore.remote(replace(memory(opened=False), workers=lives)))
    _, _, workers = ray.get(controller.observe.remote())
    assert {(w.life, w.step) for w in workers} == {(1, 10), (2, 20)}
