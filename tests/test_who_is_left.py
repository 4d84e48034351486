"""What a run's driver makes of those who never say a word: stopped, unheard, or of another run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import ray

from actors.controller import start_controller
from actors.fleet import Fleet, _Spare
from actors.lifecycle import end_process, one_of_a_name
from actors.run import Run
from actors.words import Note
from actors.worker import Program
from ray_easgd.config import Config
from ray_easgd.errors import BadStorage
from tests.fakes import Points
from tests.stopping import stop
from tests.test_succession import Fate, events, fit, pid_of, told, under_way

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


def test_words_that_are_on_their_way_as_the_run_ends_are_in_its_result(
    storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller tells each once: an answer that nobody takes in is lost."""
    is_over, asked = Run._over, list[bool]()

    def over_with_a_question_under_way(run: Run) -> bool:
        if is_over(run) and not asked:
            asked.append(True)
            last = Note(at=0.0, source="worker-0", name="last", value=1.0, user=True)
            ray.get(run.controller.note.remote(None, [last]))
            hubs = [center.status.remote() for center in run.hubs.centers]
            run._observing = [*hubs, run.controller.observe.remote(*hubs)]
            ray.wait(run._observing, num_returns=2)
        return is_over(run)

    monkeypatch.setattr(Run, "_over", over_with_a_question_under_way)
    result, _ = fit(storage)
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


def test_spares_that_end_before_they_are_ready_are_given_up() -> None:
    """Their node has no memory for them, say: each one more would cost a core and say nothing."""
    told = list[str]()
    events: Any = SimpleNamespace(no_more_spares=told.append)
    program, seat = Program(loop=print), cast("Any", None)
    fleet = Fleet(
        config=Config(), program=program, num_gpus=0, wanted=0, make_seat=seat, events=events
    )
    ended, alive = ray.put(None), wait_for_ever.remote()

    def lose_one(*, was_ready: bool = False) -> None:
        fleet._spares["spare"] = _Spare(cast("Any", None), alive, ended, was_ready)
        assert not fleet._is_ready("spare")

    for was_ready in (False, False, True, True, True):
        lose_one(was_ready=was_ready)
    assert told == [], "a node with ready ones went"
    fleet._spares["spare"] = _Spare(cast("Any", None), ended, alive)
    assert fleet._is_ready("spare")
    for count in range(5):
        assert told == (["spare"] if count >= 3 else []), "three in a row, and once"
        lose_one()
    ray.cancel(alive, force=True)


@ray.remote(num_cpus=0, max_retries=0)
def wait_for_ever() -> None:
    Event().wait()


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
