"""Words to an actor come from many, in any order: the newest counts, and who is too soon waits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import ray

from actors.center import Center
from actors.posts import Hub, Posts
from actors.succession import Legacy
from ray_easgd.algorithms.contract import Add
from ray_easgd.hub import HubOptions
from ray_easgd.parameters import Slot
from ray_easgd.progress import Progress
from ray_easgd.protocol import Interval

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


@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
def test_who_asks_a_controller_before_it_was_told_of_the_run_waits() -> None:
    """A worker may be sooner than the driver, whose word holds what a resumed run has seen."""
    from actors.controller import Controller
    from actors.lifecycle import as_actor, beside_the_driver, end_process

    seen = Progress()
    seen.add([Interval(0, 0, 60)])
    kind: Any = as_actor(
        Controller,
        num_cpus=0,
        max_concurrency=4,
        concurrency_groups={"waiting": 2, "control": 2},
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
        assert ray.get(controller.lease.remote(("worker-0", 1), False, data)).start == 60
    finally:
        end_process(controller)


CHILDREN = {1: "worker-1", 2: "worker-2"}


@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
def test_nobody_joins_or_is_lost_before_a_successor_has_taken_over() -> None:
    """A new worker and the driver's word of a loss may be sooner than what the children hold."""
    options = HubOptions(center_step=Add())
    before: Any = Center("one", options)
    center: Any = Center("two", options, life=2)
    for name in CHILDREN.values():
        _, header, (vector,), _ = joined(before, name)
    legacy = Legacy(
        layout=LAYOUT,
        lives=(CHILDREN,),
        afar=(CHILDREN,),
        addresses=(),
        keepers=(),
        version=header.version,
    )
    with ThreadPoolExecutor() as pool:
        newcomer, lost = pool.submit(joined, center, "worker-3"), pool.submit(lose, center)
        assert not center.status().children
        center.recover(legacy, 2, legacy.youngest, (header, ray.get(vector)))
        assert lost.result() == [1]
        incarnation, header, _, _ = newcomer.result()
    assert incarnation > legacy.youngest
    assert header.version.epoch == 2
    assert center.status().children == {2: "worker-2", incarnation: "worker-3"}


@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
def test_who_joins_again_has_one_life() -> None:
    """The answer to its first join was lost, say: in rounds all would wait for that life."""
    center: Any = Center("twice", HubOptions(center_step=Add()))
    for name in ("worker-1", "worker-2", "worker-1"):
        joined(center, name)
    assert center.status().children == {2: "worker-2", 3: "worker-1"}


def joined(center: Any, name: str) -> Any:
    return center.join(name, np.ones(4, np.float32), LAYOUT)


def lose(center: Any) -> Any:
    return center.lose("worker-1")
