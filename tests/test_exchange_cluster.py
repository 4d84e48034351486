"""How vectors get from worker to center and back, between real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import ray
import torch
from ray.exceptions import ActorDiedError

from actors.controller import Controller, start_controller
from actors.hub_slice import HubSlice
from actors.lifecycle import end_process
from actors.links import HubLink, open_link
from actors.worker import Program, Seat, start_worker
from ray_easgd import ElasticTrainer, session
from ray_easgd.algorithms import METHODS
from ray_easgd.checkpoint import read_checkpoint
from ray_easgd.codec import Publication, SharedBase, decode_onto
from ray_easgd.config import Config
from ray_easgd.display import Silence
from ray_easgd.errors import BadCluster
from ray_easgd.hub import options_for
from ray_easgd.parameters import Slot
from ray_easgd.protocol import Outcome, PushHeader, WireFormat
from ray_easgd.run_folder import RunFolder
from ray_easgd.shared.segment import Segment, SharedMemoryUnavailable
from ray_easgd.shared_hub import SharedHub
from tests.conftest import Pool
from tests.fakes import small_model

if TYPE_CHECKING:
    from ray.actor import ActorProxy

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]


@pytest.fixture
def controller(pool: Pool) -> Iterator[ActorProxy[Controller]]:
    handle = start_controller("exchange", (pool.center,), total_samples=10_000, bounded=True)
    yield handle
    end_process(handle)


def begin(pool: Pool, method: str) -> None:
    ray.get(pool.center.begin.remote(options_for(METHODS[method], ledger_seed=0)))


def seat(
    pool: Pool, controller: ActorProxy[Controller], index: int, method: str, **exchange_keys: Any
) -> Seat:
    sections = {"exchange": {"ledger": True, **exchange_keys}, "algorithm": {"period": 2}}
    return Seat(
        name=f"worker-{index}",
        index=index,
        life=1,
        config=Config.build(sections),
        algorithm=METHODS[method],
        program=Program(loop=exchange(30)),
        centers=(pool.center,),
        controller=controller,
    )


def exchange(num: int) -> Callable[[], None]:
    def loop() -> None:
        elastic = session.elastic(small_model())
        generator = torch.Generator().manual_seed(os.getpid())
        x = elastic.vector.flat
        while elastic.counts.exchanges < num:
            x.add_(torch.randn(x.shape, generator=generator), alpha=0.01)
            elastic.step()

    return loop


def run_all(pool: Pool, controller: ActorProxy[Controller], method: str, **keys: Any) -> int:
    """Every worker of the pool through 30 exchanges; how many there were in all.

    One that found a stripe busy the last time exchanges once more, to leave nothing behind.
    """
    seats = [seat(pool, controller, k, method, **keys) for k in range(len(pool.workers))]
    runs = [w.run.remote(mine) for w, mine in zip(pool.workers, seats, strict=True)]
    total: int = sum(status.exchanges for status in ray.get(runs))
    assert total >= 30 * len(seats)
    return total


def ledger_error(pool: Pool) -> float:
    error: float | None = ray.get(pool.center.ledger_error.remote())
    assert error is not None
    return error


@pytest.mark.parametrize("method", ["easgd", "downpour"])
@pytest.mark.parametrize("transport", ["auto", "shared_memory", "object_store"])
def test_workers_of_one_node_exchange_in_memory_unless_told_otherwise(
    pool: Pool, controller: ActorProxy[Controller], method: str, transport: str
) -> None:
    begin(pool, method)
    total = run_all(pool, controller, method, transport=transport)
    status = ray.get(pool.center.status.remote())
    assert status.version.count == total
    assert (status.snapshots == 0) is (transport != "object_store")
    assert status.children == {}
    assert ledger_error(pool) < 1e-6


@pytest.mark.parametrize("wire_format", ["bfloat16", "int8"])
@pytest.mark.parametrize("method", ["easgd", "downpour", "easgd_sync", "diloco"])
def test_coded_exchanges_apply_every_push_once_at_both_ends(
    pool: Pool, controller: ActorProxy[Controller], method: str, wire_format: WireFormat
) -> None:
    begin(pool, method)
    keys = {"transport": "object_store", "format": wire_format}
    total = run_all(pool, controller, method, **keys)
    assert ray.get(pool.center.status.remote()).version.count == total
    if METHODS[method].conserves != "none":
        assert ledger_error(pool) < 1e-6


def test_a_worker_killed_at_its_desk_holds_nobody_up(
    pool: Pool, controller: ActorProxy[Controller]
) -> None:
    begin(pool, "easgd")
    victim = start_worker("victim", run="exchange", num_cpus=0, num_gpus=0)
    pid = ray.get(victim.where.remote())["pid"]
    mine = seat(pool, controller, 9, "easgd")
    forever = Program(loop=exchange(10**9))
    lost = victim.run.remote(Seat(**{**vars(mine), "program": forever}))
    while ray.get(pool.center.status.remote()).version.count < 20:
        pass
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ActorDiedError):
        ray.get(lost)
    pool.lose("worker-9")
    before = ray.get(pool.center.status.remote()).version.count
    total = run_all(pool, controller, "easgd")
    status = ray.get(pool.center.status.remote())
    assert status.version.count == before + total
    assert status.children == {}
    assert status.sharing == 0
    assert ledger_error(pool) < 1e-6


LAYOUT = (Slot("w", (8,), 0, 8),)


def test_a_worker_of_another_node_gets_no_place(pool: Pool) -> None:
    begin(pool, "easgd")
    link = HubLink(pool.center, "far", near="another node")
    _, snapshot = link.join(torch.ones(8), LAYOUT)
    assert link.desk is None
    assert torch.equal(snapshot.vector, torch.ones(8))
    link.close()


def test_shared_memory_that_cannot_be_says_so(pool: Pool) -> None:
    begin(pool, "easgd")
    link = HubLink(pool.center, "far", near="another node", must_share=True)
    with pytest.raises(BadCluster, match=r"exchange\.transport"):
        link.join(torch.ones(8), LAYOUT)
    link.close()


class Elsewhere:
    """A device that is none: its vectors are copies, in the same memory."""

    def room(self, n: int) -> torch.Tensor:
        return torch.empty(n)

    def bring(self, vector: torch.Tensor) -> torch.Tensor:
        return vector.clone()

    def wait(self) -> None:
        """It is there."""


def test_everyone_sees_one_center_however_they_exchange(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory at a desk and by a clerk, by plain and by coded messages, one after the other."""
    begin(pool, "easgd")
    with monkeypatch.context() as patch:
        patch.setattr("actors.links.staging_for", lambda _: Elsewhere())
        clerked = open_link(pool.center, "clerked")
    links = {
        "near": open_link(pool.center, "near"),
        "clerked": clerked,
        "far": open_link(pool.center, "far", transport="object_store"),
        "bfloat16": open_link(pool.center, "b", transport="object_store", wire_format="bfloat16"),
        "int8": open_link(pool.center, "i", transport="object_store", wire_format="int8"),
    }
    lives = {name: link.join(torch.zeros(8), LAYOUT)[0] for name, link in links.items()}
    desk = links["near"].desk
    assert desk is not None
    desk.add(np.full(8, 1.0, np.float32), steps=1)
    assert (clerked.desk, clerked.in_memory) == (None, True)
    version = ray.get(pool.center.status.remote()).version
    for name, value in (("far", 1.0), ("clerked", 1.0)):
        header = PushHeader(
            incarnation=lives[name], sequence=1, computed_from=version, steps=1, checksum=0.0
        )
        links[name].push(header, torch.full((8,), value))
        links[name].drain()
        (reply,) = links[name].replies()
        assert reply.outcome is Outcome.APPLIED
    for name in ("far", "clerked", "bfloat16", "int8"):
        links[name].pull()
        links[name].drain()
        snapshot = links[name].pulled()
        assert snapshot is not None
        assert snapshot.header.version.count == 3
        assert torch.allclose(snapshot.vector, torch.full((8,), 3.0), rtol=0.01), name
    here = np.empty(8, np.float32)
    desk.read(here)
    assert (here == 3.0).all()
    for link in links.values():
        link.leave()
    assert not clerked.in_memory


def test_a_base_is_one_vector_at_both_ends_while_others_exchange(
    cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child in memory moves the center between the two copies that are made of a new base."""
    hub, n = HubSlice(SharedHub(options_for(METHODS["easgd"]))), 4096
    life, _, _, place = hub.join("near", np.full(n, 100, np.float32), (), is_near=True)
    hub.join("far", np.full(n, 100, np.float32), (), is_near=False)
    assert place is not None
    segment, desk = place.open(life, ledger_seed=None)
    publish = SharedBase.publish

    def meanwhile(self: SharedBase, *args: Any, **keys: Any) -> Publication:
        publication = publish(self, *args, **keys)
        desk.add(np.full(n, 1, np.float32), steps=1)
        return publication

    monkeypatch.setattr(SharedBase, "publish", meanwhile)
    base = torch.from_numpy(ray.get(hub.pull_coded("int8").base_ref[0]))
    before = torch.empty(n)
    desk.read(before.numpy())
    answer = hub.pull_coded("int8")
    assert torch.allclose(decode_onto(base, ray.get(answer.coded[0])), before, rtol=1e-3)
    desk.close()
    segment.close()
    hub.close()


def test_a_child_that_cannot_open_its_hubs_memory_takes_messages_and_says_why(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(address: object) -> Segment:
        raise SharedMemoryUnavailable("not in this container")

    begin(pool, "easgd")
    monkeypatch.setattr(Segment, "open", refuse)
    said: list[str] = []
    link = open_link(pool.center, "contained", tell=lambda kind, message: said.append(message))
    life, _ = link.join(torch.randn(100), (Slot("w", (100,), 0, 100),))
    assert not link.in_memory
    assert life in ray.get(pool.center.status.remote()).children
    assert said == ["contained exchanges through the object store: not in this container"]
    link.leave()
    link.close()


def test_a_base_is_fetched_once_and_differences_after_it(pool: Pool) -> None:
    begin(pool, "easgd")
    n = 10_000
    link = open_link(pool.center, "i", transport="object_store", wire_format="int8")
    life, _ = link.join(torch.randn(n), (Slot("w", (n,), 0, n),))
    sizes = []
    for k in range(4):
        link.pull()
        link.drain()
        snapshot = link.pulled()
        assert snapshot is not None
        sizes.append(snapshot.num_bytes)
        header = PushHeader(
            incarnation=life,
            sequence=k + 1,
            computed_from=snapshot.header.version,
            steps=1,
            checksum=0.0,
        )
        link.push(header, torch.full((n,), 0.01))
        link.drain()
    assert sizes[0] == 4 * n
    assert all(n < size < 1.1 * n for size in sizes[1:])
    link.leave()


def test_a_run_says_why_it_does_not_share_memory(cluster: None, storage: dict[str, Any]) -> None:
    config = {
        "fleet": {"workers": 1, "gpus_per_worker": 0},
        "run": storage,
        "algorithm": {"name": "easgd", "staleness_power": 0.5},
        "stop": {"samples": 2_000},
    }
    result = ElasticTrainer(config=config).fit(display=Silence())
    events = RunFolder.open(result.path).read_events()
    (said,) = [event["message"] for event in events if event["kind"] == "messages"]
    assert "through the object store: the method's center does more than add up" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({"exchange": {"fragments": 4}}, marks=pytest.mark.long),
        {"exchange": {"fragments": 2}, "center": {"shards": 2}},
        pytest.param(
            {"center": {"shards": 2}, "algorithm": {"name": "diloco"}}, marks=pytest.mark.long
        ),
        {"exchange": {"format": "int8", "transport": "object_store"}},
    ],
    ids=["fragments", "shards", "rounds", "int8"],
)
def test_a_run_in_slices_or_coded_trains_as_well(
    cluster: None, storage: dict[str, Any], sections: dict[str, Any]
) -> None:
    fleet = {"workers": 2, "gpus_per_worker": 0}
    sections = {"stop": {"samples": 40_000}, **sections}
    config = {"fleet": fleet, "run": storage, **sections}
    result = ElasticTrainer(config=config).fit(display=Silence())
    assert result.metrics["test_accuracy"] > 0.93
    assert result.metrics["samples_missed"] == 0
    checkpoint = read_checkpoint(result.checkpoint or "")
    assert checkpoint.manifest["samples"] >= 40_000
    assert np.isfinite(checkpoint.vector).all()
