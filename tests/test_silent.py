"""Hubs and the controller that are stopped, not dead: who keeps silent for long is replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event
from typing import Any

import pytest
import ray

from actors.asking import Pulse
from ray_easgd.checkpoint import read_checkpoint
from ray_easgd.run_folder import RunFolder
from tests.stopping import stop
from tests.test_succession import all_was_seen, events, fit, told, under_way

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.usefixtures("cluster")]

LEVELS = [{"fan_out": 2, "period": 4}, {"fan_out": 1, "period": 2}]


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Callable[[], None]]]:
    """Stops an actor of that name; it is let go in the end, if it is still there."""
    for module in ("centers", "reminder", "run"):
        monkeypatch.setattr(f"actors.{module}.SILENCE_S", 3.0)
    pids: list[int] = []

    def stopping(name: str) -> Callable[[], None]:
        def stop_it() -> None:
            actor: Any = ray.get_actor(name)
            pids.append(ray.get(actor.__ray_call__.remote(lambda _: os.getpid())))
            stop(pids[-1])

        return stop_it

    yield stopping
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("hub", "replaced", "levels"),
    [("center", "center_replaced", []), ("aggregator-1-0", "aggregator_replaced", LEVELS)],
)
def test_a_hub_that_is_stopped_has_a_successor(
    storage: dict[str, Any],
    stopping: Callable[[str], Callable[[], None]],
    hub: str,
    replaced: str,
    levels: list[dict[str, int]],
) -> None:
    result, _ = fit(
        storage,
        (under_way, stopping(f"r:{hub}")),
        told(f"{hub} was lost"),
        topology={"levels": levels} if levels else {},
        exchange={"transport": "object_store"},
    )
    assert all_was_seen(result)
    (silent,) = events(result, "hub_silent")
    assert silent["message"].startswith(f"{hub} has not answered for 3 s")
    assert len(events(result, replaced)) == 1
    assert events(result, "worker_lost") == []
    assert result.metrics["ledger_error"] < 1e-5


def test_a_run_whose_records_are_asked_for_goes_on_without_who_does_not_answer(
    storage: dict[str, Any],
    stopping: Callable[[str], Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actors.run._WRITE_EVERY_S", 0.2)
    result, _ = fit(
        storage,
        (under_way, stopping("r:aggregator-1-0")),
        told("aggregator-1-0 was lost"),
        topology={"levels": LEVELS},
        trace=f"{storage['storage']}/trace.jsonl",
    )
    assert all_was_seen(result)
    assert len(events(result, "hub_silent")) == 1


def test_a_controller_that_is_stopped_is_started_again(
    storage: dict[str, Any], stopping: Callable[[str], Callable[[], None]]
) -> None:
    result, _ = fit(
        storage,
        (under_way, stopping("r:controller")),
        told("the controller was lost and is back"),
    )
    assert all_was_seen(result)
    assert len(events(result, "controller_silent")) == 1
    assert len(events(result, "controller_restarted")) == 1
    assert events(result, "worker_lost") == []


def test_a_run_that_is_interrupted_while_its_center_is_stopped_keeps_what_its_workers_hold(
    storage: dict[str, Any], stopping: Callable[[str], Callable[[], None]]
) -> None:
    def stop_and_interrupt() -> None:
        stopping("r:center")()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(storage, (under_way, stop_and_interrupt), exchange={"transport": "object_store"})
    record = RunFolder.open(f"{storage['storage']}/r").read_result()
    assert record is not None
    assert record["status"] == "interrupted"
    assert read_checkpoint(record["checkpoint"]).manifest["steps"] > 0


@ray.remote(num_cpus=0, max_retries=0)
def never() -> None:
    Event().wait()


def test_silence_counts_only_while_somebody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that was stopped itself would else end all it hears."""
    now = 100.0
    monkeypatch.setattr("actors.asking.time.monotonic", lambda: now)
    answer, silence = ray.put(None), never.remote()
    pulse = Pulse(lambda: silence if is_silent else answer)
    is_silent = False
    assert pulse.silent_s() == 0
    now += 50
    is_silent = True
    assert pulse.silent_s() == 0, "it had answered; another question is asked"
    now += 500
    assert pulse.silent_s() == 1
    for now, silent_s in ((650.5, 1.5), (651.0, 2.0), (651.5, 2.5)):  # noqa: B007
        assert pulse.silent_s() == silent_s
    ray.cancel(silence, force=True)
