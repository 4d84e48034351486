"""Ray Data behind leases: each row once, whoever reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from actors.ray_datasets import RayRows, opened
from ray_easgd import ElasticTrainer, Task, session
from ray_easgd.errors import BadConfig, BadData

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray Data of itself
]

ROWS = 96


@pytest.fixture(scope="module")
def dataset(cluster: None) -> Any:
    """Points, what they are to give, and a word each; in six blocks."""
    data = pytest.importorskip("ray.data", reason="Ray Data needs pandas: ray-easgd[data]")
    data.DataContext.get_current().enable_progress_bars = False
    items = [
        {"x": np.full(3, k, np.float32), "y": float(3 * k), "word": f"row {k}"} for k in range(ROWS)
    ]
    return data.from_items(items, override_num_blocks=6)


def test_an_epoch_of_blocks_is_every_row_once_in_a_seeded_order(dataset: Any) -> None:
    rows = opened({"train": dataset})["train"]
    assert isinstance(rows, RayRows)
    assert (len(rows), len(rows.blocks)) == (ROWS, 6)
    order = rows.order(seed=1, epoch=0)
    batches = [rows.batch(order.positions(k, k + 7)) for k in range(0, ROWS, 7)]
    y = torch.cat([batch["y"] for batch in batches])
    assert sorted(y.tolist()) == [3.0 * k for k in range(ROWS)]
    assert y.tolist() != sorted(y.tolist())
    for batch in batches:
        assert torch.equal(batch["x"].sum(1).double(), batch["y"])
        assert list(batch["word"]) == [f"row {int(v) // 3}" for v in batch["y"]]


def loop() -> None:
    model = torch.nn.Linear(3, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    elastic = session.elastic(model)
    for batch in session.data(session.dataset(), batch_size=8, epochs=2):
        x, y = batch["x"] / ROWS, batch["y"] / ROWS
        (model(x)[:, 0] - y).pow(2).mean().backward()
        with torch.no_grad():
            assert model.weight.grad is not None
            model.weight.sub_(0.1 * model.weight.grad)
            model.weight.grad = None
        elastic.step()


def test_a_fleet_shares_a_ray_dataset(dataset: Any, storage: dict[str, Any]) -> None:
    result = ElasticTrainer(
        loop,
        datasets={"train": dataset},
        config={
            "run": storage,
            "fleet": {"workers": 2, "gpus_per_worker": 0},
            "algorithm": {"name": "easgd", "period": 2},
        },
    ).fit()
    metrics = result.metrics
    assert metrics["samples"] - metrics["samples_repeated"] == 2 * ROWS
    assert metrics["samples_missed"] == 0


def test_what_is_missing_or_too_much_is_named(cluster: None) -> None:
    with pytest.raises(BadConfig, match=r"datasets.*a task has data of its own"):
        ElasticTrainer(task=Task(), datasets={"train": [1, 2]})
    empty = pytest.importorskip("ray.data").from_items([{"x": 1}]).limit(0)
    with pytest.raises(BadData, match=r"datasets\.nothing.*it has no rows"):
        opened({"nothing": empty})
