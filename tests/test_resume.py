"""Runs that end too early, and go on under the same name: in the same process and in another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from ray_easgd import ElasticTrainer, Result, Task, session
from ray_easgd.checkpoint import read_checkpoint
from ray_easgd.display import Silence
from ray_easgd.errors import BadConfig, FolderLost, HubLost, Superseded, WorkerFailed
from ray_easgd.run_folder import RunFolder
from tests.fakes import Points, descend, small_model

pytestmark = pytest.mark.cluster

SAMPLES = 20_000


def loop(config: dict[str, Any]) -> None:
    """Steps of the thesis's own kind; raises, once, when it finds a stone in its way."""
    model = small_model()
    elastic = session.elastic(model)
    session.report({"schedule_clock": elastic.schedule_clock})
    stone = Path(config["stone"])
    for inputs, targets in session.data(Points(), batch_size=8):
        descend(model, inputs, targets)
        elastic.step()
        if stone.exists() and elastic.clock >= 200:
            raise ZeroDivisionError("a stone")


class Runs:
    """Runs of one name, one after the other."""

    def __init__(self, storage: dict[str, Any], tmp_path: Path) -> None:
        self.storage, self.stone = storage, tmp_path / "stone"

    def fit(self, *, samples: int = SAMPLES, workers: int = 2, **sections: Any) -> Result:
        return ElasticTrainer(
            loop,
            train_loop_config={"stone": str(self.stone)},
            config={
                "run": self.storage | sections.pop("run", {}),
                "algorithm": {"name": "easgd", "period": 4},
                "fleet": {"workers": workers, "gpus_per_worker": 0},
                "stop": {"samples": samples},
                **sections,
            },
        ).fit(display=Silence())

    def fail(self, **options: Any) -> Result:
        self.stone.touch()
        with pytest.raises(WorkerFailed) as failed:
            self.fit(**options)
        self.stone.unlink()
        assert failed.value.result is not None
        return failed.value.result

    @property
    def folder(self) -> RunFolder:
        return RunFolder.open(f"{self.storage['storage']}/{self.storage['name']}")

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.folder.read_events() if event["kind"] == kind]


@pytest.fixture
def runs(cluster: None, storage: dict[str, Any], tmp_path: Path) -> Runs:
    return Runs(storage, tmp_path)


def test_a_run_that_failed_goes_on_where_it_was(runs: Runs) -> None:
    failed = runs.fail()
    before = read_checkpoint(failed.checkpoint or "").manifest
    result = runs.fit(workers=3)
    assert result.metrics["resumed_from"] == failed.checkpoint
    assert before["samples"] < SAMPLES
    after = read_checkpoint(result.checkpoint or "").manifest
    (hub,) = after["hubs"]
    assert hub["progress"]["seen"] == {
        str(epoch): [[0, min(len(Points()), SAMPLES - epoch * len(Points()))]]
        for epoch in range(-(-SAMPLES // len(Points())))
    }, "every sample, and none beyond"
    assert result.metrics["samples_missed"] == 0
    assert after["version"][0] == before["version"][0] + 1
    assert after["version"][1] > before["version"][1]
    assert after["steps"] > before["steps"]
    assert after["trained_s"] > before["trained_s"]
    assert before["schedule_clock"] > 0
    assert result.metrics["schedule_clock"] == before["schedule_clock"]
    assert after["schedule_clock"] > before["schedule_clock"]
    (resumed,) = runs.events("resumed")
    assert failed.checkpoint is not None
    assert failed.checkpoint in resumed["message"]
    times = [event["time_s"] for event in runs.folder.read_events()]
    assert times == sorted(times), "one clock for all sittings"


def test_a_finished_run_says_so_and_may_be_asked_for_more(runs: Runs) -> None:
    first = runs.fit()
    again = runs.fit()
    assert dict(again.metrics) == dict(first.metrics)
    assert again.checkpoint == first.checkpoint
    assert len(runs.events("started")) == 1
    with pytest.raises(BadConfig, match="is finished and had 32") as refused:
        runs.fit(batch_size=16)
    assert refused.value.field == "batch_size"
    more = runs.fit(samples=SAMPLES + 4000, batch_size=16)
    (changed,) = runs.events("changed")
    assert changed["message"] == "goes on with batch_size=16, it had 32"
    assert more.metrics["resumed_from"] == first.checkpoint
    assert more.metrics["samples"] >= SAMPLES + 4000
    assert more.metrics["samples_missed"] == 0


@pytest.mark.long
def test_another_method_does_not_go_on_with_it(runs: Runs) -> None:
    runs.fail()
    with pytest.raises(BadConfig, match=r"choose another run\.name"):
        runs.fit(algorithm={"name": "downpour"})
    assert runs.fit().metrics["samples_missed"] == 0, "and nothing was lost by asking"


def test_a_driver_whose_run_was_taken_over_ends(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usurp(self: Any, *_: Any, **__: Any) -> None:
        runs.folder.place.write("sitting.json", b'{"token": "another"}')

    monkeypatch.setattr("actors.run.Run.start", _after(usurp, "start"))
    with pytest.raises(Superseded) as ended:
        runs.fit(run={"checkpoint_s": 0.05}, samples=10**7)
    assert ended.value.result is not None
    assert ended.value.result.checkpoint is None
    assert runs.folder.read_result() is None, "the folder is another's"


def test_a_driver_that_is_taken_over_as_it_ends_leaves_the_folder_alone(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usurp(self: Any) -> None:
        runs.folder.place.write("sitting.json", b'{"token": "another"}')

    monkeypatch.setattr("actors.run.Run.test", _after(usurp, "test"))
    with pytest.raises(Superseded):
        runs.fit(run={"checkpoint_s": 0})
    assert runs.folder.read_result() is None
    assert not runs.folder.place.exists("report.html")


def test_weights_that_cannot_be_kept_are_an_error_and_the_numbers_are_not_lost(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def obstruct(self: Any) -> None:
        runs.folder.place.write("checkpoints", b"a file where the folder should be")

    monkeypatch.setattr("actors.run.Run.start", _after(obstruct, "start"))
    with pytest.raises(FolderLost, match="the end of the run is not kept") as ended:
        runs.fit(run={"checkpoint_s": 0})
    assert ended.value.result is not None
    assert ended.value.result.metrics["samples"] >= SAMPLES
    record = runs.folder.read_result()
    assert record is not None
    assert record["status"] == "failed"
    monkeypatch.undo()
    (Path(runs.folder.path) / "checkpoints").unlink()
    assert runs.fit().checkpoint is not None, "the same command, once there is room"


def test_a_center_that_dies_during_the_last_test_is_kept_and_tested(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is left then who could bring it back."""
    monkeypatch.setattr("actors.run.Run.supervise", _after(kill_center, "supervise"))
    task = Task(model="mlp", data="digits")
    config = {"run": runs.storage, "fleet": {"workers": 2}, "stop": {"samples": SAMPLES}}
    result = ElasticTrainer(task=task, config=config).fit(display=Silence())
    assert result.metrics["test_accuracy"] is not None
    assert read_checkpoint(result.checkpoint or "").manifest["samples"] >= SAMPLES


def test_a_center_that_is_gone_before_it_is_kept_is_an_error(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.run.Run._wind_down", _after(kill_center, "_wind_down"))
    with pytest.raises(HubLost):
        runs.fit()
    record = runs.folder.read_result()
    assert record is not None
    assert record["status"] == "failed"
    (told,) = runs.events("checkpoint_failed")
    assert "the same command goes on from the newest" in told["message"]


def kill_center(run: Any) -> None:
    ray.kill(run.hubs.centers[0])


def _after(act: Any, what: str) -> Any:
    """``what`` of a run, and then ``act``."""
    from actors.run import Run

    first = getattr(Run, what)

    def both(self: Run) -> None:
        first(self)
        act(self)

    return both


def command(tmp_path: Path, workers: int, *more: str) -> list[str]:
    words = {
        "run.name": "killed",
        "run.storage": str(tmp_path),
        "run.checkpoint_s": 0.3,
        "fleet.workers": workers,
        "fleet.cpus_per_worker": 0.25,
        "stop.samples": 150_000,
        "algorithm.name": "easgd",
    }
    given = [f"{key}={value}" for key, value in words.items()]
    return [sys.executable, "-m", "ray_easgd.cli", "train", "--json", *given, *more]


SCRIPT = """
import sys
from ray_easgd import ElasticTrainer, Task
fleet = {"workers": 1, "gpus_per_worker": 0}
run = {"name": "mine", "storage": sys.argv[1]}
config = {"fleet": fleet, "run": run, "stop": {"seconds": 600}}
ElasticTrainer(task=Task(model="mlp", data="digits"), config=config).fit()
"""


@pytest.mark.slow
def test_a_script_that_is_asked_to_end_keeps_its_center(tmp_path: Path) -> None:
    """As Ray ends a job: SIGTERM, to the script alone."""
    script = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with subprocess.Popen(script, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "training" in line:
                break
        process.terminate()
        rest = process.stderr.read()
    assert process.returncode != 0, rest
    folder = RunFolder.open(str(tmp_path / "mine"))
    record = folder.read_result()
    assert record is not None, rest
    assert record["status"] == "interrupted"
    assert read_checkpoint(record["checkpoint"]).manifest["samples"] >= record["samples"] > 0


@pytest.mark.slow
def test_a_killed_driver_and_all_its_processes_cost_one_interval(tmp_path: Path) -> None:
    """Ray of its own, so that it dies with the driver; resumed by half as many workers."""
    checkpoints = tmp_path / "killed" / "checkpoints"

    def count() -> int:
        return len(list(checkpoints.glob("*/manifest.json")))

    first = subprocess.Popen(
        command(tmp_path, 4, "fleet.steps_per_s=50"),  # or it may end before it is killed
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    seen: set[str] = set()
    while len(seen) < 2:
        assert first.poll() is None, "it ended before it was killed"
        seen |= {path.parent.name for path in checkpoints.glob("*/manifest.json")}
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert count() >= 1
    second = subprocess.run(
        command(tmp_path, 2), capture_output=True, text=True, check=True, timeout=300
    )
    metrics = json.loads(second.stdout.splitlines()[-1])
    assert metrics["resumed_from"] is not None
    assert metrics["num_workers"] == 2
    assert metrics["samples_missed"] == 0
    assert metrics["samples"] - metrics["samples_repeated"] == 150_000
    assert metrics["val_accuracy"] > 0.9
