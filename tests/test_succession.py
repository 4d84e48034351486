"""Hubs, the controller and workers that die, and what takes their place: real processes, killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError

from actors.controller import start_controller
from actors.hubs import Hubs
from actors.lifecycle import end_process
from actors.runs import scale
from actors.worker import Program, Seat
from ray_easgd import ElasticTrainer, Result, session
from ray_easgd.algorithms import METHODS, Algorithm
from ray_easgd.algorithms.count import count
from ray_easgd.config import Config
from ray_easgd.display import Progress, Silence
from ray_easgd.errors import FleetLost
from ray_easgd.run_folder import RunFolder
from tests.conftest import Pool
from tests.fakes import Points, descend, small_model

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.chaos,
    pytest.mark.usefixtures("cluster"),
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]


class Stage:
    """A center of its own over the pool's workers, and what a driver does for them."""

    def __init__(self, pool: Pool, config: Config, algorithms: list[Algorithm]) -> None:
        self.pool, self.config, self.algorithms = pool, config, algorithms
        self.told: list[tuple[str, str]] = []
        self.hubs = Hubs(
            run=f"stage-{time.monotonic_ns()}",
            config=config,
            algorithm=algorithms[0] if algorithms else METHODS["easgd"],
            num_workers=len(algorithms),
            tell=lambda kind, message, **_: self.told.append((kind, message)),
            children_of=lambda _: pool.workers[: len(algorithms)],
        )
        self.controller = start_controller(
            self.hubs.run, self.hubs.centers, total_samples=None, bounded=True
        )
        self.hubs.start(self.controller)

    def run(self, loop: Callable[[], None]) -> list[Any]:
        return [
            worker.run.remote(
                Seat(
                    name=f"worker-{k}",
                    index=k,
                    life=1,
                    config=self.config,
                    algorithm=algorithm,
                    program=Program(loop=loop),
                    centers=self.hubs.centers,
                    controller=self.controller,
                )
            )
            for k, (worker, algorithm) in enumerate(
                zip(self.pool.workers, self.algorithms, strict=False)
            )
        ]

    def watch(self, until: Callable[[], bool]) -> None:
        while not until():
            watched = self.hubs.watched
            for reference in ray.wait(list(watched), timeout=0.05)[0]:
                self.hubs.settle(watched[reference])

    @property
    def version(self) -> int:
        status: Any = ray.get(self.hubs.centers[0].status.remote())
        return int(status.version.count)

    def was_told(self, kind: str, times: int = 1) -> bool:
        return [known for known, _ in self.told].count(kind) == times

    def end(self) -> None:
        self.hubs.end()
        end_process(self.controller)


def step_until(flag: Path) -> Callable[[], None]:
    path = str(flag)

    def loop() -> None:
        elastic = session.elastic(small_model())
        while not os.path.exists(path):  # noqa: PTH110
            time.sleep(0.002)  # what a gradient takes
            elastic.step()

    return loop


def ended(calls: list[Any]) -> bool:
    return not ray.wait(calls, num_returns=len(calls), timeout=0)[1]


@pytest.mark.parametrize(("wire_format", "times"), [("float32", 2), ("int8", 1)])
def test_every_push_counts_once_also_of_a_center_that_died(
    pool: Pool, tmp_path: Path, wire_format: str, times: int
) -> None:
    """Each push is one more at the child's own place, so the center *is* the count."""
    exchange = {"transport": "object_store", "format": wire_format}
    config = Config.build({"exchange": exchange, "algorithm": {"name": "easgd"}})
    stage, flag = Stage(pool, config, [count(k) for k in range(3)]), tmp_path / "enough"
    try:
        calls = stage.run(step_until(flag))
        for k in range(times):
            stage.watch(lambda: stage.version > 30)
            end_process(stage.hubs.centers[0])
            stage.watch(partial(stage.was_told, "center_replaced", k + 1))
        since = stage.version
        stage.watch(lambda: stage.version > since + 20)
        flag.touch()
        stage.watch(lambda: ended(calls))
        sent = [status.exchanges for status in ray.get(calls)]
        header, (ref,) = ray.get(stage.hubs.centers[0].pull.remote(0))
        start: Any = session_start()
        counted = (ray.get(ref) - start).round().astype(int).tolist()
        assert counted[:3] == sent
        assert counted[3:] == [0] * (len(counted) - 3)
        assert header.version.epoch == 1 + times
        message = next(message for kind, message in stage.told if kind == "center_replaced")
        assert "the newest that a child held" in message
    finally:
        stage.end()


def session_start() -> Any:
    import torch

    return torch.cat([p.detach().reshape(-1) for p in small_model().parameters()]).numpy()


def test_a_center_that_dies_before_anybody_joined_has_a_successor(pool: Pool) -> None:
    config = Config.build({"algorithm": {"name": "easgd"}})
    stage = Stage(pool, config, [])
    try:
        end_process(stage.hubs.centers[0])
        stage.watch(partial(stage.was_told, "center_replaced"))
        status: Any = ray.get(stage.hubs.centers[0].status.remote())
        assert status.version.epoch == 2
        assert stage.was_told("no_memory", 0)
    finally:
        stage.end()


def test_each_edge_there_may_be_has_room_to_wait_for_a_successor(pool: Pool) -> None:
    """Those who wait for one hub would else keep another from finding its own."""
    config = {"fleet": {"workers": "2..40"}, "exchange": {"fragments": 2}}
    stage = Stage(pool, Config.build({"algorithm": {"name": "easgd"}, **config}), [])
    try:
        assert stage.hubs.most_edges == 80
    finally:
        stage.end()


def test_a_process_that_stands_by_and_dies_is_replaced(pool: Pool) -> None:
    stage = Stage(pool, Config.build({"algorithm": {"name": "easgd"}}), [])
    root = stage.hubs.root

    def standing_by() -> Any:
        while not root._places[0].node:  # it is to stand beside the center
            root.saw([ray.get(center.status.remote()) for center in root.handles])
        root.stand_by()
        return root._standby[0][0]

    try:
        first = standing_by()
        assert standing_by() is first
        end_process(first)
        stage.watch(lambda: standing_by() is not first)
        second = standing_by()
        end_process(stage.hubs.centers[0])
        stage.watch(partial(stage.was_told, "center_replaced"))
        assert stage.hubs.centers[0] is second, "it was ready"
    finally:
        stage.end()


def test_who_stands_by_does_so_beside_the_center_and_for_as_long_as_that_is_there(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(pool, Config.build({"algorithm": {"name": "easgd"}}), [])
    root = stage.hubs.root
    try:
        root.stand_by()
        assert root._standby == {}, "nobody has said yet where the center is"
        statuses: list[Any] = [ray.get(center.status.remote()) for center in root.handles]
        while not root._places[0].node:
            root.saw(statuses)
        root.stand_by()
        waiting, end = root._standby[0]
        monkeypatch.setattr("actors.centers.answers", lambda _: False)  # its node has gone
        successor = root._successor(0)
        assert successor is not waiting
        end_process(successor)
        with pytest.raises(ActorDiedError):
            ray.get(end)
    finally:
        stage.end()


def test_children_go_on_in_the_memory_of_a_center_that_died(pool: Pool, tmp_path: Path) -> None:
    config = Config.build({"algorithm": {"name": "easgd"}, "exchange": {"ledger": True}})
    stage, flag = Stage(pool, config, [METHODS["easgd"]] * 3), tmp_path / "enough"
    try:
        calls = stage.run(step_until(flag))
        stage.watch(lambda: stage.version > 30)
        before = stage.version
        end_process(stage.hubs.centers[0])
        stage.watch(partial(stage.was_told, "center_replaced"))
        assert stage.version >= before, "its memory has all that was in it"
        since = stage.version
        stage.watch(lambda: stage.version > since + 20)
        flag.touch()
        stage.watch(lambda: ended(calls))
        statuses = ray.get(calls)
        assert stage.version == sum(status.exchanges for status in statuses)
        assert "goes on with its memory" in dict(stage.told)["center_replaced"]
        root: Any = ray.get(stage.hubs.centers[0].status.remote())
        assert root.steps == sum(status.step for status in statuses)
        error: Any = ray.get(stage.hubs.centers[0].ledger_error.remote())
        assert error is not None
        assert error < 1e-5
    finally:
        stage.end()


# -- whole runs ------------------------------------------------------------------------------------

SAMPLES = 2048

When = Callable[["Fate"], bool]
Act = Callable[[], object]


@dataclass
class Fate(Silence):
    """What happens to a run: each act once its time has come, one after the other; then the end.

    Workers step without data until ``flag`` is there, and then train on all there is.
    """

    acts: list[tuple[When, Act]]
    flag: Path
    told: list[str] = field(default_factory=list)
    now: Progress | None = None
    most_training: int = 0

    def update(self, progress: Progress) -> None:
        self.now = progress
        self.most_training = max(self.most_training, self.num_training)
        if self.acts and self.acts[0][0](self):
            self.acts.pop(0)[1]()
        elif not self.acts and not self.flag.exists():
            self.flag.touch()

    def event(self, text: str) -> None:
        self.told.append(text)

    @property
    def num_training(self) -> int:
        assert self.now is not None
        return [worker.state for worker in self.now.workers].count("training")

    def was_told(self, text: str, times: int = 1) -> bool:
        return sum(text in line for line in self.told) >= times


def under_way(fate: Fate) -> bool:
    return fate.now is not None and fate.now.version > 20 and fate.num_training == 2


def told(text: str, *, training: int = 2, times: int = 1) -> tuple[When, Act]:
    """Go on once that was told, and so many train."""
    return lambda fate: fate.was_told(text, times) and fate.num_training == training, lambda: None


def loop(config: dict[str, Any]) -> None:
    """Steps of the thesis's own kind; ``fails_at`` kills its process."""
    model = small_model()
    elastic = session.elastic(model)
    session.report({f"pid-{os.getpid()}": 1.0})
    while not os.path.exists(config["flag"]):  # noqa: PTH110
        time.sleep(0.004)  # what a gradient takes
        elastic.step()
        if config["fails_at"] == elastic.clock:
            os.kill(os.getpid(), signal.SIGKILL)
    for inputs, targets in session.data(Points(), batch_size=8):
        descend(model, inputs, targets)
        elastic.step()


def fit(
    storage: dict[str, Any],
    *acts: tuple[When, Act],
    fails_at: int = 0,
    program: Callable[[dict[str, Any]], None] = loop,
    trace: str | None = None,
    **sections: Any,
) -> tuple[Result, Fate]:
    flag = Path(storage["storage"]) / "enough"
    fate = Fate(list(acts), flag)
    result = ElasticTrainer(
        program,
        train_loop_config={"flag": str(flag), "fails_at": fails_at},
        config={
            "run": storage,
            "fleet": {"workers": 2, "gpus_per_worker": 0} | sections.pop("fleet", {}),
            "algorithm": {"name": "easgd"},
            "exchange": {"ledger": True} | sections.pop("exchange", {}),
            "stop": {"samples": SAMPLES},
            **sections,
        },
    ).fit(display=fate, trace=trace)
    return result, fate


def events(result: Result, kind: str) -> list[dict[str, Any]]:
    return [e for e in RunFolder.open(result.path).read_events() if e["kind"] == kind]


def all_was_seen(result: Result) -> bool:
    metrics = result.metrics
    distinct = metrics["samples"] - metrics["samples_repeated"]
    return bool(distinct == SAMPLES and metrics["samples_missed"] == 0)


def reported(result: Result) -> set[str]:
    return {row["name"] for row in RunFolder.open(result.path).read_metrics().to_pylist()}


def pid_of(actor: str) -> int:
    worker: Any = ray.get_actor(actor)
    where: Any = ray.get(worker.where.remote())
    return int(where["pid"])


def kill_center() -> None:
    ray.kill(ray.get_actor("r:center"))


@pytest.mark.parametrize(
    "transport", [pytest.param("auto", marks=pytest.mark.long), "object_store"]
)
def test_a_run_whose_center_is_killed_goes_on(storage: dict[str, Any], transport: str) -> None:
    result, _ = fit(
        storage,
        (under_way, kill_center),
        told("center was lost"),
        exchange={"transport": transport},
        algorithm={"name": "easgd", "period": 2},
    )
    assert all_was_seen(result)
    (replaced,) = events(result, "center_replaced")
    assert replaced["details"]["has_memory"] == (transport == "auto")
    assert events(result, "worker_lost") == []
    assert events(result, "new_life") == [], "no child had to begin anew"
    assert result.metrics["ledger_error"] < 1e-5
    assert result.checkpoint is not None


def test_a_tree_whose_center_is_killed_goes_on(storage: dict[str, Any]) -> None:
    levels = [{"fan_out": 2, "period": 4}, {"fan_out": 1, "period": 2}]
    result, _ = fit(
        storage,
        (under_way, kill_center),
        told("center was lost"),
        topology={"levels": levels},
    )
    assert all_was_seen(result)
    assert len(events(result, "center_replaced")) == 1
    assert events(result, "worker_lost") == []


def test_a_run_whose_controller_is_killed_goes_on(storage: dict[str, Any]) -> None:
    def kill() -> None:
        ray.kill(ray.get_actor("r:controller"), no_restart=False)

    result, _ = fit(storage, (under_way, kill), told("the controller was lost and is back"))
    assert all_was_seen(result)
    assert len(events(result, "controller_restarted")) == 1
    assert events(result, "worker_lost") == []


def test_a_run_grows_and_shrinks_and_nobody_starts_again(storage: dict[str, Any]) -> None:
    result, fate = fit(
        storage,
        (under_way, lambda: scale("r", 3, None)),
        (lambda fate: fate.num_training == 3, lambda: scale("r", 1, None)),
        told("fewer are wanted", training=1, times=2),
    )
    assert all_was_seen(result)
    assert fate.most_training == 3
    assert [e["message"][:9] for e in events(result, "scaled")] == ["3 workers", "1 workers"]
    left = events(result, "worker_left")
    assert len(left) == 2
    assert all("after a last exchange (fewer are wanted)" in e["message"] for e in left)
    assert events(result, "worker_lost") == []
    assert len([name for name in reported(result) if name.startswith("pid-")]) == 3


def test_a_worker_that_is_asked_to_end_says_goodbye_and_is_replaced(
    storage: dict[str, Any],
) -> None:
    result, _ = fit(
        storage,
        (under_way, lambda: os.kill(pid_of("r:worker-0"), signal.SIGTERM)),
        told("has left"),
    )
    assert all_was_seen(result)
    (left,) = events(result, "worker_left")
    assert (
        "worker-0 has left after a last exchange (its process was asked to end)"
        in (left["message"])
    )
    assert events(result, "worker_lost") == []
    assert result.metrics["num_workers"] == 2
    (inherited,) = events(result, "inherited")
    assert "goes on with what worker-0 left" in inherited["message"]


@pytest.mark.parametrize("gpus", [0.0, 0.5])  # which Ray only believes in; a spare holds its own
def test_a_warm_spare_takes_a_lost_workers_seat_and_a_lost_spare_is_replaced(
    storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch, gpus: float
) -> None:
    monkeypatch.setattr("actors.run._SPARES_AFTER_S", 0.0)
    pids: list[int] = []

    def there_is(spare: str) -> Callable[[Fate], bool]:
        return lambda fate: under_way(fate) and spare in ray.util.list_named_actors()

    def make_ready(name: str) -> None:
        spare: Any = ray.get_actor(name)
        ray.get(spare.prepare.remote(Program(loop=loop), Config()))  # it has its imports done

    def kill_the_spare() -> None:
        make_ready("r:spare-0")
        os.kill(pid_of("r:spare-0"), signal.SIGKILL)

    def kill_a_worker() -> None:
        make_ready("r:spare-1")
        pids.append(pid_of("r:spare-1"))
        os.kill(pid_of("r:worker-1"), signal.SIGKILL)

    result, _ = fit(
        storage,
        (there_is("r:spare-0"), kill_the_spare),
        (there_is("r:spare-1"), kill_a_worker),
        told("is lost"),
        fleet={"spares": 1, "gpus_per_worker": gpus},
    )
    assert all_was_seen(result)
    assert len(events(result, "worker_lost")) == 1
    assert f"pid-{pids[0]}" in reported(result)


@pytest.mark.long
def test_a_crash_loop_ends_the_run_and_what_was_learned_is_kept(storage: dict[str, Any]) -> None:
    never = (lambda _: False, lambda: None)
    with pytest.raises(FleetLost, match="each time with the same error") as ended_with:
        fit(storage, never, fails_at=5)
    assert ended_with.value.result is not None
