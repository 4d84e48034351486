"""A tree of real processes: who goes where, what reaches the center, and an aggregator killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from actors.controller import start_controller
from actors.hubs import Hubs
from actors.lifecycle import end_process
from actors.status import read
from actors.worker import Program, Seat
from ray_easgd import session
from ray_easgd.config import Config
from ray_easgd.edges import hub_options
from ray_easgd.recipe import algorithm_of
from tests.conftest import Pool
from tests.fakes import Points, descend, small_model

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]

LEVELS = [{"fan_out": 2, "period": 4}, {"fan_out": 2, "period": 2}]
SAMPLES = 4096


class Tree:
    """Aggregators over the pool's four workers, under the pool's center."""

    def __init__(
        self, pool: Pool, config: Config, *, samples: int = SAMPLES, traced: bool = False
    ) -> None:
        self.pool, self.config, self.traced = pool, config, traced
        self.algorithm = algorithm_of(config)
        self.told: list[tuple[str, str]] = []
        options = hub_options(config, self.algorithm, 0, traced=traced)
        ray.get(pool.center.begin.remote(options))
        self.hubs = Hubs(
            run=f"tree-{time.monotonic_ns()}",
            config=self.config,
            algorithm=self.algorithm,
            num_workers=4,
            tell=lambda kind, message, **_: self.told.append((kind, message)),
            children_of=lambda _: pool.workers,
            given=(pool.center,),
            traced=traced,
        )
        self.controller = start_controller(
            self.hubs.run,
            (pool.center,),
            total_samples=samples,
            bounded=True,
            num_hubs=self.hubs.num_leaves,
        )
        self.hubs.start(self.controller)

    def run(self, program: Program) -> list[Any]:
        """Seat all workers; the calls that end with them."""
        return [
            worker.run.remote(
                Seat(
                    name=f"worker-{k}",
                    index=k,
                    life=1,
                    config=self.config,
                    algorithm=self.algorithm,
                    program=program,
                    centers=(self.pool.center,),
                    controller=self.controller,
                    traced=self.traced,
                )
            )
            for k, worker in enumerate(self.pool.workers)
        ]

    def watch(self, until: Callable[[], bool]) -> None:
        """What a driver does while it waits."""
        while not until():
            watched = self.hubs.watched
            for reference in ray.wait(list(watched), timeout=0.1)[0]:
                self.hubs.settle(watched[reference])
            self.hubs.look()

    def pushes(self, name: str) -> int:
        status = self.hubs.statuses.get(name)
        return status.version.count if status else 0

    @property
    def children(self) -> dict[int, str]:
        status: Any = ray.get(self.pool.center.status.remote())
        return dict(status.children)

    def check_ledger(self) -> None:
        """Of one-way messages there is none: nothing is conserved."""
        for hub in (self.pool.center, *self.hubs.handles.values()):
            error: Any = ray.get(hub.ledger_error.remote())
            assert (error is None) == (self.config.topology.scheme == "messages")
            assert error is None or error < 1e-5

    def end(self) -> None:
        for actor in (*self.hubs.handles.values(), self.controller):
            end_process(actor)


@pytest.fixture(params=["auto", pytest.param("object_store", marks=pytest.mark.long), "messages"])
def tree(pool: Pool, request: pytest.FixtureRequest) -> Iterator[Tree]:
    by_messages = request.param == "messages"
    sections = {
        "algorithm": {"name": "easgd"},
        "topology": {"levels": LEVELS, "scheme": "messages" if by_messages else "elastic"},
        "exchange": {"transport": "auto" if by_messages else request.param, "ledger": True},
        "batch_size": 8,
    }
    made = Tree(pool, Config.build(sections))
    yield made
    made.end()


def train() -> None:
    model = small_model()
    elastic = session.elastic(model, torch.optim.SGD(model.parameters(), lr=0.05))
    for inputs, targets in session.data(Points(), batch_size=8, epochs=1):
        descend(model, inputs, targets, lr=0.05)
        elastic.step()


def step_until(flag: Path) -> Callable[[], None]:
    path = str(flag)

    def loop() -> None:
        elastic = session.elastic(small_model())
        x, generator = elastic.vector.flat, torch.Generator().manual_seed(os.getpid())
        while not os.path.exists(path):  # noqa: PTH110
            x.add_(torch.randn(x.shape, generator=generator), alpha=0.01)
            time.sleep(0.002)  # what a gradient takes
            elastic.step()

    return loop


def ten_steps() -> None:
    elastic = session.elastic(small_model())
    for _ in range(10):
        elastic.step()


def ended(calls: list[Any]) -> bool:
    return not ray.wait(calls, num_returns=len(calls), timeout=0)[1]


def test_all_data_reaches_the_center_through_the_tree(tree: Tree) -> None:
    calls = tree.run(Program(loop=train))
    tree.watch(lambda: ended(calls))
    statuses = ray.get(calls)
    tree.watch(lambda: tree.children == {})  # without any, an aggregator takes leave
    root = ray.get(tree.pool.center.status.remote())
    assert sorted(s.hub for s in statuses) == ["aggregator-1-0"] * 2 + ["aggregator-1-1"] * 2
    assert root.progress.num_distinct == SAMPLES
    assert root.steps >= SAMPLES // 8
    tree.check_ledger()
    ray.get(tree.run(Program(loop=ten_steps)))  # and comes back when there is one again
    again = ray.get(tree.pool.center.status.remote())
    assert again.version.count > root.version.count


def test_children_of_a_killed_aggregator_go_on_under_its_successor(
    tree: Tree, tmp_path: Path
) -> None:
    flag = tmp_path / "enough"
    calls = tree.run(Program(loop=step_until(flag)))
    victim, other = "aggregator-1-0", "aggregator-1-1"
    tree.watch(lambda: tree.pushes(victim) > 20 and tree.pushes(other) > 20)
    nodes = {node.name: node for node in read("r", tree.controller).tree}
    assert nodes[victim].parent == "center"
    assert nodes[victim].version > 20
    assert {n.parent for n in nodes.values() if n.name.startswith("worker")} <= {victim, other}
    end_process(tree.hubs.handles[victim])
    before = ray.get(tree.pool.center.status.remote()).version.count
    tree.watch(lambda: any(kind == "aggregator_replaced" for kind, _ in tree.told))
    since = tree.pushes(victim)
    tree.watch(lambda: tree.pushes(victim) > since + 20)
    flag.touch()
    tree.watch(lambda: ended(calls))
    statuses = ray.get(calls)  # nobody failed
    assert len(statuses) == 4
    root = ray.get(tree.pool.center.status.remote())
    assert root.version.count > before
    assert set(root.children.values()) <= {victim, other}
    message = next(message for kind, message in tree.told if kind == "aggregator_replaced")
    in_memory = tree.algorithm.in_place and tree.config.exchange.transport == "auto"
    assert ("goes on with its memory" in message) == in_memory
    tree.check_ledger()
