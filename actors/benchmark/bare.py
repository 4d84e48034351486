"""The plainest exchange that Ray can make, as a yardstick: actors, arrays, and nothing of ours.

A worker pulls a reference to the newest snapshot, gets the array, puts its difference, and pushes
that; the next pull is under way meanwhile. What this costs are Ray's own calls and copies.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import ray

from actors.benchmark.window import Window
from actors.lifecycle import Named, actor_name, as_actor, end_process

if TYPE_CHECKING:
    from ray.actor import ActorProxy

_RATE = 0.225


class BareHub(Named):
    """Holds an array, shape (n,). It counts nothing, and would apply a push twice."""

    def __init__(self, n: int) -> None:
        self._c = np.zeros(n, np.float32)
        self._published: ray.ObjectRef[np.ndarray] | None = None

    @ray.method(concurrency_group="data")
    def pull(self) -> list[ray.ObjectRef[np.ndarray]]:
        """One put for each version, however many pull it."""
        if self._published is None:
            self._published = ray.put(self._c)
        return [self._published]

    @ray.method(concurrency_group="data")
    def push(self, d: np.ndarray) -> None:
        """Add a difference."""
        self._c += d
        self._published = None

    @ray.method(concurrency_group="control")
    def ping(self) -> None:
        """Answers."""


@contextmanager
def bare_hub(run: str, n: int) -> Iterator[ActorProxy[BareHub]]:
    """One that ends with the block."""
    hub = as_actor(
        BareHub,
        name=actor_name(run, "bare"),
        concurrency_groups={"control": 1, "data": 1},
        num_cpus=0,
        max_restarts=0,
        max_task_retries=0,
    ).remote(n)
    try:
        ray.get(hub.ping.remote())
        yield hub
    finally:
        end_process(hub)


def exchange_with(hub: ActorProxy[BareHub], n: int, count: int, at_least_s: float) -> Window:
    """So many exchanges, and for so long."""
    x = np.random.default_rng().standard_normal(n, np.float32)
    pulled, moments = hub.pull.remote(), [time.monotonic()]
    while len(moments) <= count or moments[-1] - moments[0] < at_least_s:
        c = ray.get(ray.get(pulled)[0])
        d = _RATE * (x - c)
        x -= d
        pushed = hub.push.remote(ray.put(d))
        pulled = hub.pull.remote()
        ray.get(pushed)
        moments.append(time.monotonic())
    ray.get(pulled)
    sent = x.nbytes * (len(moments) - 1)
    return Window(moments=moments, bytes_sent=sent, bytes_received=sent)
