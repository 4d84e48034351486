"""The actors: real processes, real object store, one shared cluster."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import ray
import torch
from ray.exceptions import RayActorError

from actors.center import Center
from actors.controller import Controller, start_controller
from actors.lifecycle import end_process
from actors.words import WorkerStatus
from actors.worker import Program, Seat, Worker, start_worker
from ray_easgd import session
from ray_easgd.algorithms import METHODS, Algorithm
from ray_easgd.algorithms.contract import Add
from ray_easgd.algorithms.count import count
from ray_easgd.config import Config
from ray_easgd.hub import HubOptions
from ray_easgd.parameters import Slot
from ray_easgd.protocol import Outcome, PushHeader
from tests.conftest import Pool
from tests.fakes import Points, small_model
from tests.stopping import stop

if TYPE_CHECKING:
    from ray.actor import ActorProxy

pytestmark = pytest.mark.cluster

LEDGER = HubOptions(center_step=Add(), ledger_seed=0)


@pytest.fixture
def controller(pool: Pool) -> Iterator[ActorProxy[Controller]]:
    handle = start_controller("test", (pool.center,), total_samples=10_000, bounded=True)
    yield handle
    end_process(handle)


def seat(pool: Pool, controller: ActorProxy[Controller], index: int, **options: Any) -> Seat:
    values: dict[str, Any] = {
        "name": f"worker-{index}",
        "index": index,
        "life": 1,
        "config": Config.build({"exchange": {"ledger": True}, "batch_size": 8}),
        "algorithm": METHODS["easgd"],
        "centers": (pool.center,),
        "controller": controller,
    }
    return Seat(**(values | options))


def exchange(num: int) -> Callable[[], None]:
    """A loop of step boundaries, each a little off the last, until ``num`` exchanges are made."""

    def loop() -> None:
        elastic = session.elastic(small_model())
        while elastic.counts.exchanges < num:
            elastic.vector.flat.mul_(0.999)
            elastic.step()

    return loop


def local_center() -> Any:
    """The actor's class as a plain object in this process, for threads of ours to hammer."""
    return Center("local", LEDGER)


def begin(pool: Pool, options: HubOptions = LEDGER) -> None:
    ray.get(pool.center.begin.remote(options))


def test_four_workers_pushing_at_once_lose_no_push_and_count_none_twice(
    pool: Pool, controller: ActorProxy[Controller]
) -> None:
    begin(pool)

    def loop() -> None:
        elastic = session.elastic(small_model())
        while elastic.counts.exchanges < 50:
            elastic.step()

    runs = []
    for k, worker in enumerate(pool.workers):
        mine = seat(pool, controller, k, algorithm=count(k), program=Program(loop=loop))
        runs.append(worker.run.remote(mine))
    sent = [status.exchanges for status in ray.get(runs)]
    header, (ref,) = ray.get(pool.center.pull.remote(0))
    start = torch.cat([p.detach().reshape(-1) for p in small_model().parameters()])
    counted = (torch.from_numpy(ray.get(ref).copy()) - start).round().int().tolist()
    assert counted[:4] == sent
    assert counted[4:] == [0] * (len(counted) - 4)
    assert header.version.count == sum(sent) >= 200


def test_the_ledger_balances_over_four_training_workers(
    pool: Pool, controller: ActorProxy[Controller]
) -> None:
    begin(pool)

    def loop() -> None:
        model = small_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        elastic = session.elastic(model, optimizer)
        for inputs, targets in session.data(Points()):
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            elastic.step(loss)

    runs = [
        w.run.remote(seat(pool, controller, k, program=Program(loop=loop)))
        for k, w in enumerate(pool.workers)
    ]
    statuses = ray.get(runs)
    hub = ray.get(pool.center.status.remote())
    error = ray.get(pool.center.ledger_error.remote())
    assert error is not None
    assert error < 1e-5
    assert hub.version.count == sum(s.exchanges for s in statuses)
    assert hub.steps == sum(s.step for s in statuses)
    assert hub.progress.num_distinct == 10_000
    assert sum(s.samples for s in statuses) == 10_000 + hub.progress.num_repeated
    assert hub.children == {}, "everyone has said goodbye"


def test_a_snapshot_is_one_cut_of_vector_and_header(cluster: None) -> None:
    """Threads push while others pull; fails where apply and publish are not atomic."""
    center, n = local_center(), 400_000
    layout = (Slot("w", (n,), 0, n),)
    lives = [center.join(f"w{k}", np.zeros(n, np.float32), layout)[0] for k in range(4)]
    ones, over = np.ones(n, np.float32), threading.Event()

    def push(life: int) -> list[Outcome]:
        version = center.status().version
        headers = [
            PushHeader(incarnation=life, sequence=k, computed_from=version, steps=1)
            for k in range(1, 51)
        ]
        return [center.push(header, ones, 0).outcome for header in headers]

    def pull() -> list[bool]:
        whole = []
        while not over.is_set():
            header, (ref,) = center.pull(0)
            vector = ray.get(ref)
            whole.append(bool((vector == header.version.count).all()))
            assert sum(header.applied.values()) == header.version.count
        return whole

    with ThreadPoolExecutor(6) as threads:
        pulls = [threads.submit(pull) for _ in range(2)]
        outcomes = list(threads.map(push, lives))
        over.set()
        assert all(all(p.result()) for p in pulls)
    assert all(o is Outcome.APPLIED for each in outcomes for o in each)
    assert center.status().version.count == 200


def test_one_put_serves_all_who_pull_a_version(cluster: None) -> None:
    center = local_center()
    life, *_ = center.join("w", np.zeros(8, np.float32), (Slot("w", (8,), 0, 8),))
    refs = {center.pull(0)[1][0] for _ in range(5)}
    assert len(refs) == 1
    assert center.status().snapshots == 1
    version = center.status().version
    center.push(
        PushHeader(incarnation=life, sequence=1, computed_from=version, steps=1),
        np.ones(8, np.float32),
        0,
    )
    assert center.pull(0)[1][0] not in refs
    assert center.status().snapshots == 2


@pytest.fixture
def fresh(cluster: None) -> Iterator[ActorProxy[Worker]]:
    """One that has not run anything yet."""
    worker = start_worker("fresh", run="fresh", num_cpus=0, num_gpus=0)
    yield worker
    end_process(worker)


def test_a_worker_at_nothing_ends_at_sigterm(fresh: ActorProxy[Worker]) -> None:
    watched, pid = fresh.watch.remote(), ray.get(fresh.where.remote())["pid"]
    os.kill(pid, signal.SIGTERM)
    with pytest.raises(RayActorError):
        ray.get(watched)


def test_a_worker_that_is_asked_to_end_before_it_begins_ends_at_its_first_boundary(
    pool: Pool, controller: ActorProxy[Controller], fresh: ActorProxy[Worker]
) -> None:
    begin(pool)
    ray.get(fresh.end.remote("over"))
    mine = seat(pool, controller, 0, program=Program(loop=exchange(10**9)))
    assert ray.get(fresh.run.remote(mine)).step <= 1


def test_a_stopped_worker_changes_nobody_elses_progress(
    pool: Pool, controller: ActorProxy[Controller]
) -> None:
    begin(pool)
    victim, other = pool.workers[:2]
    pid = ray.get(victim.where.remote())["pid"]
    stopped = victim.run.remote(seat(pool, controller, 0, program=Program(loop=exchange(10**9))))
    while ray.get(pool.center.status.remote()).version.count < 3:
        pass
    stop(pid)
    try:
        before = ray.get(pool.center.status.remote()).version.count
        mine = seat(pool, controller, 1, program=Program(loop=exchange(30)))
        status = ray.get(other.run.remote(mine), timeout=120)
        after = ray.get(pool.center.status.remote()).version.count
        assert status.exchanges >= 30
        assert status.exchanges <= after - before <= status.exchanges + 2, "two were in flight"
    finally:
        os.kill(pid, signal.SIGCONT)
    ray.get(victim.end.remote("over"))
    assert ray.get(stopped).step > 0


def test_a_second_process_reads_the_center_from_the_object_store(
    pool: Pool, controller: ActorProxy[Controller]
) -> None:
    begin(pool)
    ray.get(
        pool.workers[0].run.remote(seat(pool, controller, 0, program=Program(loop=exchange(5))))
    )

    @ray.remote(num_cpus=0)
    def read() -> tuple[int, float, int]:
        center: Any = ray.get_actor("pool:center")
        header, (ref,) = ray.get(center.pull.remote(0))
        vector: Any = ray.get(ref)
        return os.getpid(), float(vector.sum()), header.version.count

    pid, total, version = ray.get(read.remote())
    header, (ref,) = ray.get(pool.center.pull.remote(0))
    vector: Any = ray.get(ref)
    assert pid != os.getpid()
    assert (total, version) == (float(vector.sum()), header.version.count)
    assert version > 0


def test_two_workers_see_distinct_gpus_and_say_that_they_use_the_cpu(
    pool: Pool, controller: ActorProxy[Controller]
) -> None:
    begin(pool)
    workers = [start_worker(f"gpu-{k}", run="gpu", num_cpus=0, num_gpus=1) for k in range(2)]
    try:
        ids = [ray.get(w.where.remote())["gpu_ids"] for w in workers]
        assert sorted(map(tuple, ids)) == [("0",), ("1",)]
        if not torch.cuda.is_available():
            mine = seat(pool, controller, 0, program=Program(loop=exchange(1)))
            status: WorkerStatus = ray.get(workers[0].run.remote(mine))
            hub = pool.center.status.remote()
            _, notes, _ = ray.get(controller.observe.remote(hub))
            assert status.device == "cpu"
            assert any("CUDA is absent here: it uses the CPU" in n.message for n in notes)
    finally:
        for worker in workers:
            end_process(worker)


@pytest.mark.parametrize("name", ["easgd", "downpour"])
def test_the_actors_and_a_local_hub_end_in_the_same_vector_to_the_bit(
    pool: Pool, controller: ActorProxy[Controller], name: str
) -> None:
    """One worker with a period long enough for each transfer: the schedule is the same."""
    from tests.fakes import make_hub, make_session

    algorithm: Algorithm = METHODS[name]
    ours = one_exchange_at_the_end(make_session(algorithm, make_hub(algorithm), period=10**6))
    begin(pool)
    config = Config.build({"algorithm": {"period": 10**6, "name": name}})

    def loop() -> None:
        one_exchange_at_the_end(session.current(), finish=False)

    mine = seat(pool, controller, 0, config=config, algorithm=algorithm, program=Program(loop=loop))
    ray.get(pool.workers[0].run.remote(mine))
    _, (ref,) = ray.get(pool.center.pull.remote(0))
    assert np.array_equal(ray.get(ref), ours.numpy())


def one_exchange_at_the_end(active: session.Session, *, finish: bool = True) -> torch.Tensor:
    """40 steps on fixed batches, then the last exchange; the hub's vector, where it is local."""
    model, points = small_model(), Points()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    elastic = active.elastic(model, optimizer)
    for k in range(40):
        loss = torch.nn.functional.cross_entropy(model(points.inputs), points.targets)
        optimizer.zero_grad()
        (loss * (1 + k % 3)).backward()
        optimizer.step()
        elastic.step(loss)
    if not finish:
        return torch.empty(0)
    elastic.finish()
    from ray_easgd.local import LocalLink

    (link,) = active.links
    assert isinstance(link, LocalLink)
    assert link.hub.vector is not None
    return link.hub.vector
