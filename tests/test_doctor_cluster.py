"""``ray-easgd doctor`` on a run that is going on, to which one thing happens after another.

The doctor looks from the driver's own thread, so the driver mends nothing meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
from click.testing import CliRunner

from actors.doctor import examine
from actors.lifecycle import end_process
from actors.runs import scale
from ray_easgd import ElasticTrainer, session
from ray_easgd.cli import main
from ray_easgd.display import Progress, Silence
from ray_easgd.doctor import Evidence, Finding, diagnose
from tests.fakes import small_model
from tests.stopping import stop

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.chaos,
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]

RUN = "patient"
CONFIG = {
    "algorithm": {"name": "easgd"},
    "topology": {"levels": [{"fan_out": 2, "period": 4}, {"fan_out": 2, "period": 4}]},
    "exchange": {"transport": "object_store"},
    "fleet": {"workers": 3, "cpus_per_worker": 5, "gpus_per_worker": 0, "steps_per_s": 25},
    "stop": {"seconds": 3600},
}


def loop(config: dict[str, str]) -> None:
    """Steps; while the file ``ill`` is there, one of the workers brings a NaN now and then."""
    elastic = session.elastic(small_model())
    while not os.path.exists(config["enough"]):  # noqa: PTH110
        if elastic.clock % 20 == 0 and os.path.exists(config["ill"] + session.current().name):  # noqa: PTH110
            elastic.vector.flat[0] = float("nan")
        elastic.step()


def actor(name: str) -> Any:
    return ray.get_actor(f"{RUN}:{name}")


def pause_until(happened: Callable[[], bool]) -> Callable[[float], None]:
    """What passes between two looks: at least the interval, and until that has happened."""

    def pause(interval_s: float) -> None:
        time.sleep(interval_s)
        while not happened():
            time.sleep(0.1)

    return pause


def census() -> dict[str, Any]:
    seen: Any = ray.get(actor("controller").census.remote())
    return {worker.name: worker for worker in seen.workers}


@dataclass
class Ward(Silence):
    """Does to a run what the tests are about, and keeps what the doctor saw."""

    ill: str
    enough: Path
    now: Progress | None = None
    seen: dict[str, Evidence] = field(default_factory=dict)
    printed: str = ""
    is_mended: bool = False
    _rounds: Iterator[None] | None = None

    def event(self, text: str) -> None:
        self.is_mended |= "aggregator-1-0 was lost" in text

    def update(self, progress: Progress) -> None:
        self.now = progress
        self._rounds = self._rounds or self._visit()
        next(self._rounds, None)

    def _visit(self) -> Iterator[None]:
        """One thing after another; each ``yield`` lets the driver go on."""
        while not (self._states() == ["training"] * 3 and self.now and self.now.version > 20):
            yield
        self.seen["healthy"] = examine(RUN, None, interval_s=2.0)
        with self._stopped("worker-1"):
            self._look("stopped", self._until_others_stepped("worker-0"))
        yield
        Path(self.ill + "worker-2").touch()
        self._look("diverging", self._until_restarted("worker-2"))
        Path(self.ill + "worker-2").unlink()
        end_process(actor("aggregator-1-0"))
        self._look("dead", lambda: True)
        while not self.is_mended:
            yield
        scale(RUN, 4, None)
        while "waiting" not in self._states():
            yield
        self._look("no room", lambda: True)
        self.printed = (
            CliRunner().invoke(main, ["doctor", RUN, "--json", "--interval-s=0.5"]).stdout
        )
        self.enough.touch()

    def _states(self) -> list[str]:
        return [worker.state for worker in self.now.workers] if self.now else []

    def _look(self, name: str, happened: Callable[[], bool]) -> None:
        self.seen[name] = examine(RUN, None, interval_s=1.0, pause=pause_until(happened))

    @contextmanager
    def _stopped(self, name: str) -> Iterator[None]:
        place: Any = ray.get(actor(name).where.remote())
        pid = place["pid"]
        stop(pid)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _until_others_stepped(self, name: str) -> Callable[[], bool]:
        before = census()[name].step
        return lambda: census()[name].step > before + 100

    def _until_restarted(self, name: str) -> Callable[[], bool]:
        before = census()[name].restarts
        return lambda: census()[name].restarts > before + 1


@pytest.fixture(scope="module")
def ward(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Ward:
    folder = tmp_path_factory.mktemp("ward")
    ward = Ward(ill=str(folder / "ill-"), enough=folder / "enough")
    ElasticTrainer(
        loop,
        train_loop_config={"enough": str(ward.enough), "ill": ward.ill},
        config={**CONFIG, "run": {"storage": str(folder), "name": RUN}},
    ).fit(display=ward)
    return ward


def only(evidence: Evidence) -> Finding:
    found = diagnose(evidence)
    assert len(found) == 1, found
    return found[0]


def test_nothing_is_wrong_with_a_healthy_run(ward: Ward) -> None:
    evidence = ward.seen["healthy"]
    assert diagnose(evidence) == []
    assert set(evidence.moved) == {"worker-0", "worker-1", "worker-2"}
    assert all(evidence.moved.values())
    (node,) = evidence.second.nodes
    assert node.store_in
    assert node.shm_bytes > 0
    assert all(
        "tests/test_doctor_cluster.py" in c.doing or c.edges for c in evidence.second.children
    )


def test_a_stopped_worker_is_named(ward: Ward) -> None:
    found = only(ward.seen["stopped"])
    assert (found.cause, found.subject) == ("worker_stopped", "worker-1")
    assert "stopped (SIGSTOP)" in found.evidence
    assert "worker-0 " in found.evidence
    assert "kill -CONT" in found.remedy


def test_a_diverging_worker_is_named(ward: Ward) -> None:
    found = only(ward.seen["diverging"])
    assert (found.cause, found.subject) == ("diverging", "worker-2")
    assert "not finite" in found.evidence


def test_a_worker_without_room_is_named(ward: Ward) -> None:
    found = only(ward.seen["no room"])
    assert (found.cause, found.subject) == ("no_resources", "worker-3")
    assert "5 CPU" in found.evidence
    assert "1 CPU free of 16 CPU" in found.evidence


def test_the_command_says_the_same_as_json(ward: Ward) -> None:
    record = json.loads(ward.printed.splitlines()[-1])
    assert record["run"] == RUN
    assert [found["cause"] for found in record["findings"]] == ["no_resources"]


def test_a_dead_aggregator_is_named(ward: Ward) -> None:
    found = only(ward.seen["dead"])
    assert (found.cause, found.subject) == ("hub_dead", "aggregator-1-0")
    assert "worker-" in found.evidence
