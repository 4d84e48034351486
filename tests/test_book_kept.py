"""What data the center has seen outlives those who know it: shards, the controller, or both."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import ray

from ray_easgd import Result, session
from tests.fakes import Points, descend, small_model
from tests.test_succession import SAMPLES, Fate, all_was_seen, events, fit, told

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.usefixtures("cluster")]

STEPS = 32
BEFORE = 2 * (STEPS + 1) * 8  # samples of two workers; the last batch is stepped on as they wait


def loop(config: dict[str, Any]) -> None:
    """Trains on some of the data, and on the rest once the flag is there."""
    model = small_model()
    elastic = session.elastic(model)
    for k, (inputs, targets) in enumerate(session.data(Points(), batch_size=8)):
        while k == STEPS and not os.path.exists(config["flag"]):  # noqa: PTH110
            time.sleep(0.004)  # what a gradient takes
            elastic.step()
        descend(model, inputs, targets)
        session.report({f"batches-{os.getpid()}": k + 1})
        elastic.step()


def trained_twice(result: Result) -> int:
    """Samples, known to the books or not. A few at the end are everybody's to take: a backup."""
    metrics = result.metrics
    batches = sum(int(v) for name, v in metrics.items() if name.startswith("batches-"))
    return max(batches * 8 - SAMPLES, int(metrics["samples_repeated"]))


def half_way(fate: Fate) -> bool:
    return fate.now is not None and fate.now.samples == BEFORE


@pytest.mark.parametrize("transport", ["auto", "object_store"])
@pytest.mark.parametrize("shard", ["center", "center-1"])
def test_a_shard_that_dies_takes_no_data_with_it(
    storage: dict[str, Any], shard: str, transport: str
) -> None:
    result, _ = fit(
        storage,
        (half_way, lambda: ray.kill(ray.get_actor(f"r:{shard}"))),
        told(f"{shard} was lost"),
        program=loop,
        center={"shards": 2},
        exchange={"transport": transport},
    )
    (replaced,) = events(result, "center_replaced")
    assert replaced["details"]["has_memory"] == (transport == "auto")
    assert all_was_seen(result)
    assert trained_twice(result) < BEFORE / 4
    assert result.metrics["ledger_error"] < 1e-5


def test_controller_and_center_that_die_together_take_no_data_with_them(
    storage: dict[str, Any],
) -> None:
    def kill_both() -> None:
        ray.kill(ray.get_actor("r:controller"), no_restart=False)
        ray.kill(ray.get_actor("r:center"))

    result, _ = fit(
        storage,
        (half_way, kill_both),
        told("center was lost"),
        told("the controller was lost and is back"),
        program=loop,
    )
    assert all_was_seen(result)
    assert trained_twice(result) < BEFORE / 4
