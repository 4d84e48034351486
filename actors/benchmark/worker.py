"""A worker whose only work is to be measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.benchmark.bare import exchange_with
from actors.benchmark.training import Pair, Training, build_mlp, compare
from actors.benchmark.window import Window
from actors.lifecycle import Named, actor_name, as_actor
from actors.links import Transport, open_link
from actors.process import choose_device, settle_in
from ray_easgd.algorithms import METHODS
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.link import Link
from ray_easgd.parameters import ParameterVector, Slot
from ray_easgd.ports import Silent
from ray_easgd.protocol import WireFormat

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.benchmark.bare import BareHub
    from actors.center import Center


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One child's way to the hub."""

    hub: ActorProxy[Center]
    child: str
    transport: Transport
    format: WireFormat

    def open(self, device: torch.device) -> Link:
        return open_link(
            self.hub,
            self.child,
            transport=self.transport,
            wire_format=self.format,
            device=device,
        )


class BenchmarkWorker(Named):
    """The actor. Tied to the hub anew for each row, so that its imports are done once."""

    def __init__(self, name: str) -> None:
        settle_in()
        self._name = name
        self._tie: Elastic | None = None
        self._training: Training | None = None

    @ray.method
    def ready(self) -> None:
        """Answers once the imports are done."""

    @ray.method
    def tie_vector(self, edge: Edge, n: int) -> None:
        """Be tied with a random vector of shape (n,), for ``exchange``."""
        self._fasten(ParameterVector(torch.randn(n), (Slot("x", (n,), 0, n),)), edge, period=1)

    @ray.method
    def tie_model(self, edge: Edge, n: int, batch_size: int, period: int) -> int:
        """Be tied with a model of about ``n`` parameters, for ``compare``; returns how many.

        On the GPU where this actor was given one.
        """
        device, _ = choose_device()
        model = build_mlp(n).to(device)
        vector = ParameterVector.bind(model)
        self._training = Training(model, batch_size)
        self._fasten(vector, edge, period=period)
        return vector.flat.numel()

    @ray.method
    def exchange(self, count: int, at_least_s: float) -> Window:
        """Exchange so often and so long, and nothing else.

        One round is one exchange at most. Through the object store the push of this one and the
        pull of the next cross while ``drain`` waits for both; in the hub's memory the exchange is
        complete when ``step`` returns. With no gradients between, differences fade to nothing; no
        cost of an exchange depends on their values.
        """
        tie = self._tied
        before, moments = replace(tie.counts), [time.monotonic()]
        while len(moments) <= count or moments[-1] - moments[0] < at_least_s:
            done = tie.counts.exchanges
            tie.step()
            is_made = tie.counts.exchanges > done
            if tie.link.desk is None or not is_made:
                tie.link.drain()
            if is_made:
                moments.append(time.monotonic())
        tie.link.drain()
        return Window(
            moments=moments,
            bytes_sent=tie.counts.bytes_sent - before.bytes_sent,
            bytes_received=tie.counts.bytes_received - before.bytes_received,
            left_out=tie.counts.left_out - before.left_out,
        )

    @ray.method
    def exchange_bare(
        self, hub: ActorProxy[BareHub], n: int, count: int, at_least_s: float
    ) -> Window:
        """The same by Ray alone."""
        return exchange_with(hub, n, count, at_least_s)

    @ray.method
    def compare(self, num_pairs: int, block_s: float) -> Sequence[Pair]:
        """The training loop's speed with and without exchanges."""
        assert self._training is not None, "tie_model comes first"
        return compare(self._training, self._tied, num_pairs=num_pairs, block_s=block_s)

    @ray.method
    def untie(self) -> int:
        """Say goodbye to the hub, which has every push then; returns how many there were."""
        tie = self._tied
        tie.finish()
        self._tie = self._training = None
        return tie.counts.exchanges

    @property
    def _tied(self) -> Elastic:
        assert self._tie is not None, "not tied to a hub"
        return self._tie

    def _fasten(self, vector: ParameterVector, edge: Edge, *, period: int) -> None:
        options = ElasticOptions(algorithm=METHODS["easgd"], period=period, wire_format=edge.format)
        self._tie = Elastic(
            vector, edge.open(vector.flat.device), options, Silent(), name=self._name
        )


def start_benchmark_worker(
    name: str, *, run: str, node: str | None, num_gpus: float = 0
) -> ActorProxy[BenchmarkWorker]:
    """Start one worker's actor, on the node of that id where one is given.

    ``max_restarts=0``: a worker that died has no row to go on with.
    """
    return as_actor(
        BenchmarkWorker,
        name=actor_name(run, name),
        num_cpus=0,
        num_gpus=num_gpus,
        max_restarts=0,
        max_task_retries=0,
        scheduling_strategy=(
            NodeAffinitySchedulingStrategy(node, soft=False) if node else "DEFAULT"
        ),
    ).remote(name)
