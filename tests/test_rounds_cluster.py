"""Methods in rounds and recorded runs on real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import ray
from ray.exceptions import ActorDiedError

from actors.controller import Controller, start_controller
from actors.lifecycle import end_process
from actors.worker import Program, Seat, start_worker
from ray_easgd import session
from ray_easgd.algorithms import METHODS
from ray_easgd.config import Config
from ray_easgd.hub import options_for
from ray_easgd.loop import resolve
from ray_easgd.simulator.replay import replay
from ray_easgd.task import Task
from ray_easgd.trace import Joined, Pushed, Record, TraceFile
from tests.conftest import Pool
from tests.fakes import small_model
from tests.stopping import stop

if TYPE_CHECKING:
    from ray.actor import ActorProxy

pytestmark = pytest.mark.cluster


@pytest.fixture
def controller(pool: Pool) -> Iterator[ActorProxy[Controller]]:
    handle = start_controller("rounds", (pool.center,), total_samples=6_000, bounded=True)
    yield handle
    end_process(handle)


def begin(pool: Pool, method: str, **options: Any) -> None:
    ray.get(pool.center.begin.remote(options_for(METHODS[method], **options)))


def seat(
    pool: Pool, controller: ActorProxy[Controller], index: int, method: str, **options: Any
) -> Seat:
    values: dict[str, Any] = {
        "name": f"worker-{index}",
        "index": index,
        "life": 1,
        "config": Config.build({"algorithm": {"name": method, "period": 2}}),
        "algorithm": METHODS[method],
        "centers": (pool.center,),
        "controller": controller,
        "traced": True,
    }
    return Seat(**(values | options))


def exchange(num: int) -> Callable[[], None]:
    def loop() -> None:
        elastic = session.elastic(small_model())
        while elastic.counts.exchanges < num:
            elastic.vector.flat.mul_(0.999)
            elastic.step()

    return loop


def exchange_once_all_are_there(pool: Pool, num: int) -> Callable[[], None]:
    center, fleet = pool.center, len(pool.workers)

    def loop() -> None:
        elastic = session.elastic(small_model())
        while len(ray.get(center.status.remote()).children) < fleet:
            pass
        while elastic.counts.exchanges < num:
            elastic.vector.flat.mul_(0.999)
            elastic.step()

    return loop


def run_all(
    pool: Pool, controller: ActorProxy[Controller], method: str, program: Program, **options: Any
) -> list[Any]:
    return [
        worker.run.remote(seat(pool, controller, k, method, program=program, **options))
        for k, worker in enumerate(pool.workers)
    ]


def pushes(records: list[Record]) -> list[tuple[int, int]]:
    return [(r.header.incarnation, r.header.sequence) for r in records if isinstance(r, Pushed)]


@pytest.mark.parametrize("method", ["easgd_sync", "local_sgd", "gauss_seidel"])
def test_each_round_on_a_cluster_has_one_push_of_everyone(
    pool: Pool, controller: ActorProxy[Controller], method: str
) -> None:
    begin(pool, method, traced=True)
    program = Program(loop=exchange_once_all_are_there(pool, 12))
    ray.get(run_all(pool, controller, method, program))
    records = ray.get(pool.center.take_trace.remote())
    joined = [r.incarnation for r in records if isinstance(r, Joined)]
    lives = [life for life, _ in pushes(records)]
    rounds = [lives[k : k + 4] for k in range(0, 4 * 11, 4)]  # in the twelfth some may leave
    assert all(sorted(members) == sorted(joined) for members in rounds)


def test_workers_in_turn_push_one_after_the_other(
    pool: Pool, controller: ActorProxy[Controller]
) -> None:
    begin(pool, "admm", traced=True)
    ray.get(run_all(pool, controller, "admm", Program(loop=exchange(10))))
    records = ray.get(pool.center.take_trace.remote())
    last_join = max(k for k, r in enumerate(records) if isinstance(r, Joined))
    order = [life for life, _ in pushes(records[last_join:])][:20]
    assert all(
        now % 4 == before % 4 + 1 or (before % 4, now % 4) == (3, 0)
        for before, now in pairwise(life - 1 for life in order)
    )


def test_a_dead_worker_holds_nobody_up_in_a_round(
    pool: Pool, controller: ActorProxy[Controller]
) -> None:
    """The others wait for it while it is stopped, and go on once it is known to be dead."""
    begin(pool, "easgd_sync")
    victim = start_worker("victim", run="rounds", num_cpus=0, num_gpus=0)
    pid = ray.get(victim.where.remote())["pid"]
    program = Program(loop=exchange(10**9))
    lost = victim.run.remote(seat(pool, controller, 9, "easgd_sync", program=program))
    while ray.get(pool.center.status.remote()).version.count < 3:
        pass
    stop(pid)
    others = run_all(pool, controller, "easgd_sync", Program(loop=exchange(20)))
    ready, _ = ray.wait(others, timeout=1.0)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ActorDiedError):
        ray.get(lost)
    pool.lose("worker-9")
    assert ready == [], "a round waits for a worker that is merely stopped"
    assert [status.exchanges for status in ray.get(others, timeout=120)] == [20] * 4


@pytest.mark.parametrize(
    ("method", "order"),
    [
        ("easgd", "between_steps"),
        ("easgd", "at_snapshot"),
        ("eamsgd", "between_steps"),
        ("downpour", "between_steps"),
        ("diloco_async", "between_steps"),
        ("admm_async", "at_snapshot"),
        ("diloco", "between_steps"),
    ],
)
def test_a_recorded_run_of_four_workers_replays_to_the_same_center_to_the_bit(
    pool: Pool, controller: ActorProxy[Controller], tmp_path: Path, method: str, order: str
) -> None:
    words = [f"algorithm.name={method}", f"algorithm.order={order}", "algorithm.period=3"]
    config = resolve(Config.load(None, words))
    begin(pool, method, traced=True)
    program = Program(task=Task().filled(config))
    ray.get(run_all(pool, controller, method, program, config=config))
    path = str(tmp_path / "trace.jsonl")
    with TraceFile.create(path, config.model_dump(mode="json"), kind="task") as file:
        for record in ray.get(pool.center.take_trace.remote()):
            file.write(record)
        header, (ref,) = ray.get(pool.center.pull.remote(0))
        file.end(header.version, ray.get(ref))
    result = replay(path)
    assert result["pushes"] == header.version.count > 0
    assert result["first_difference"] is None
    assert result["same_center"]
