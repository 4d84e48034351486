"""Which hub a worker is sent to, and whom it waits for."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from actors.posts import Hub, Posts

AT_ONCE_S = 0.2


@pytest.fixture
def posts() -> Posts:
    """For two aggregators of two workers each, the first of them there, on node a."""
    posts = Posts(2, room=2)
    posts.put(Hub(name="first", handle=None, node="a"))
    return posts


def arrive(pool: ThreadPoolExecutor, posts: Posts, *nodes: str) -> list[Future[Hub]]:
    return [pool.submit(posts.attach, (f"w{k}", 1), node) for k, node in enumerate(nodes)]


def test_the_hub_on_ones_node_is_enough_while_it_has_room(posts: Posts) -> None:
    """The slowest to arrive holds up nobody but those it is for."""
    with ThreadPoolExecutor() as pool:
        near = arrive(pool, posts, "a", "a")
        assert [one.result().name for one in near] == ["first", "first"]
        rest = [pool.submit(posts.attach, (f"late{k}", 1), node) for k, node in enumerate("ab")]
        assert not wait(rest, timeout=AT_ONCE_S)[0], "one too many, and one of another node"
        posts.put(Hub(name="second", handle=None, node="b"))
        assert sorted(one.result().name for one in rest) == ["first", "second"]


def test_hubs_of_one_node_share_its_workers_evenly(posts: Posts) -> None:
    """Though one was there first."""
    with ThreadPoolExecutor() as pool:
        all_four = arrive(pool, posts, "a", "a", "a", "a")
        while sum(one.done() for one in all_four) < 2:
            pass
        posts.put(Hub(name="second", handle=None, node="a"))
        names = [one.result().name for one in all_four]
    assert (names.count("first"), names.count("second")) == (2, 2)
