"""Where the hubs are: words of them may overtake each other, and who asks sooner waits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import Any

import pytest

from actors.posts import Hub, Posts
from ray_easgd.progress import Progress
from ray_easgd.protocol import Interval


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
    import ray

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
        opened = controller.open_data.remote(100, 10, 1)
        book, _, _ = ray.get(controller.observe.remote())
        assert book.remembers  # or the driver would remind it
        assert not book.opened
        controller.begin.remote((), seen)
        ray.get(opened)
        assert ray.get(controller.lease.remote("worker-0", False)).start == 60
    finally:
        end_process(controller)
