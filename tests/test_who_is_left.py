"""What a run's driver makes of those who never say a word: stopped, unheard, or of another run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from actors.controller import start_controller
from actors.lifecycle import end_process, one_of_a_name
from ray_easgd import session
from ray_easgd.errors import BadStorage
from tests.fakes import Points
from tests.stopping import stop
from tests.test_succession import Fate, events, fit, loop, pid_of, told, under_way

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.usefixtures("cluster")]


def test_a_stopped_worker_does_not_keep_a_loop_of_ones_own_from_its_end(
    storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the data says when the run is over, and all of it was trained on."""
    monkeypatch.setattr("actors.run._GRACE_S", 2.0)
    monkeypatch.setattr("actors.run.SILENCE_S", 2.0)
    pids: list[int] = []

    def stop_one() -> None:
        pids.append(pid_of("r:worker-0"))
        stop(pids[0])

    try:
        result, _ = fit(storage, (under_way, stop_one), stop={})
    finally:
        for pid in pids:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGCONT)
    assert result.metrics["samples"] - result.metrics["samples_repeated"] == len(Points())
    (left,) = events(result, "left_behind")
    assert left["message"].startswith("worker-0 did not end within 2 s")
    assert "(norm " in left["message"]


def last_words(config: dict[str, Any]) -> None:
    loop(config)
    session.report({"last": 1.0})


def test_the_last_words_of_a_loop_are_in_the_result(
    storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the driver's last question is under way as the run ends."""
    monkeypatch.setattr("actors.run._TICK_S", 0.001)
    result, _ = fit(storage, program=last_words, stop={})
    assert result.metrics["last"] == 1.0


def test_a_goodbye_that_no_hub_heard_is_said_again(storage: dict[str, Any]) -> None:
    """Else it would count for the moving rate, and in rounds all would wait for it."""

    def haunt() -> None:
        center: Any = ray.get_actor("r:center")
        layout = ray.get(center.layout.remote())
        status: Any = ray.get(center.status.remote())
        vector = np.zeros(status.num_parameters, np.float32)
        ray.get(center.join.remote("worker-9", vector, layout))

    def is_laid(_: Fate) -> bool:
        center: Any = ray.get_actor("r:center")
        status: Any = ray.get(center.status.remote())
        return "worker-9" not in status.children.values()

    result, _ = fit(storage, (under_way, haunt), (is_laid, lambda: None), told("", training=2))
    assert events(result, "worker_lost") == []
    assert events(result, "new_life") == []


def test_a_second_controller_of_a_name_is_refused_in_the_users_words() -> None:
    """A center that was replaced has left its name: the controller's is the one that is taken."""
    first = start_controller("twice", (), total_samples=None, bounded=True)
    try:
        ray.get(first.census.remote())
        refused = pytest.raises(BadStorage, match=r"run\.name.*twice.*going on on this cluster")
        with refused, one_of_a_name("twice"):
            start_controller("twice", (), total_samples=None, bounded=True)
    finally:
        end_process(first)
