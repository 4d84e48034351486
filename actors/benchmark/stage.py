"""The processes that are measured: one center, and workers that are used row after row."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from actors.benchmark.worker import BenchmarkWorker, Edge, start_benchmark_worker
from actors.center import start_center
from actors.lifecycle import end_process
from ray_easgd.algorithms import METHODS
from ray_easgd.errors import EasgdError
from ray_easgd.hub import options_for
from ray_easgd.protocol import WireFormat

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.center import Center
    from actors.links import Transport


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One center, and as many workers as the largest row needs; ``run`` names them."""

    run: str
    center: ActorProxy[Center]
    workers: list[ActorProxy[BenchmarkWorker]]

    def edges(self, count: int, *, transport: Transport, wire_format: WireFormat) -> list[Edge]:
        """Edges to a fresh hub in the center's process, one for each of ``count`` workers."""
        ray.get(self.center.begin.remote(options_for(METHODS["easgd"])))
        return [
            Edge(hub=self.center, child=f"worker-{k}", transport=transport, format=wire_format)
            for k in range(count)
        ]

    def untie(self, workers: Sequence[ActorProxy[BenchmarkWorker]]) -> None:
        """Their goodbyes have arrived afterwards: none reaches the hub of the next row."""
        ray.get([worker.untie.remote() for worker in workers])
        while ray.get(self.center.status.remote()).children:
            pass


@contextmanager
def curtain() -> Iterator[list[Any]]:
    """A list of actors, each ended with the block. What Ray raises becomes one message."""
    actors: list[Any] = []
    try:
        yield actors
    except RayError as error:
        raise EasgdError(f"a measured process failed: {error}") from error
    finally:
        for actor in actors:
            end_process(actor)


@contextmanager
def staged(num_workers: int, *, num_gpus: float = 0) -> Iterator[Stage]:
    """Center and workers on one node, their imports done; ``num_gpus`` for each worker."""
    run = fresh_name()
    with curtain() as actors:
        center = start_center(run, options_for(METHODS["easgd"]))
        actors.append(center)
        workers = [
            start_benchmark_worker(f"worker-{k}", run=run, node=None, num_gpus=num_gpus)
            for k in range(num_workers)
        ]
        actors.extend(workers)
        ray.get([center.status.remote(), *(w.ready.remote() for w in workers)])
        yield Stage(run=run, center=center, workers=workers)


def fresh_name() -> str:
    """Of the actors of one benchmark, in Ray's dashboard."""
    return f"benchmark-{uuid.uuid4().hex[:8]}"
