"""Trees of real processes, recorded, and run again in one: the same center, to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.worker import Program
from ray_easgd.config import Config
from ray_easgd.errors import BadStorage
from ray_easgd.loop import resolve
from ray_easgd.simulator.replay import replay
from ray_easgd.task import Task
from ray_easgd.trace import TraceFile
from tests.conftest import Pool
from tests.test_tree_cluster import Tree, ended

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]

OF_DEPTH: dict[int, list[dict[str, Any]]] = {
    2: [{"fan_out": 2, "period": 8}, {"fan_out": 2, "period": 3, "moving_rate": 0.2}],
    3: [
        {"fan_out": 1, "period": 6},
        {"fan_out": 2, "period": 4},
        {"fan_out": 2, "period": 2},
    ],
}


def record(pool: Pool, path: Path, depth: int, method: str) -> list[int]:
    """Train the digits in a tree of that depth; how many pushes each aggregator had."""
    topology = {"levels": OF_DEPTH[depth]}
    config = resolve(Config.build({"algorithm": {"name": method}, "topology": topology}))
    tree = Tree(pool, config, samples=24_000, traced=True)
    try:
        calls = tree.run(Program(task=Task().filled(config)))
        tree.watch(lambda: ended(calls))
        ray.get(calls)
        with TraceFile.create(str(path), config.model_dump(mode="json"), kind="task") as file:
            tree.hubs.end_traces(file)
        return [version_of(hub) for hub in tree.hubs.handles.values()]
    finally:
        tree.end()


def version_of(hub: Any) -> int:
    status: Any = ray.get(hub.status.remote())
    return int(status.version.count)


@pytest.mark.parametrize(("depth", "method"), [(2, "easgd"), (2, "eamsgd"), (3, "easgd")])
def test_a_recorded_tree_ends_in_the_same_center_again(
    pool: Pool, tmp_path: Path, depth: int, method: str
) -> None:
    path = tmp_path / "trace.jsonl"
    aggregators = record(pool, path, depth, method)
    assert len(aggregators) == (2 if depth == 2 else 3)
    again = replay(str(path))
    assert again["first_difference"] is None
    assert again["same_center"]
    assert again["pushes"] >= len(aggregators)  # how many more is a matter of pace
    assert sum(aggregators) > again["pushes"]
    if (depth, method) == (2, "easgd"):
        tell_what_differs(path)


def tell_what_differs(path: Path) -> None:
    """Another number in one push of an aggregator is found, and a hub that forgot is named."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    pushes = [k for k, line in enumerate(lines) if line.get("event") == "push"]
    last = [k for k in pushes if lines[k]["hub"].startswith("aggregator")][-1]
    changed = lines[last]
    written = [*lines]
    written[last] = changed | {"checksum": changed["checksum"] + 1.0}
    path.write_text("".join(json.dumps(line) + "\n" for line in written))
    assert f"push {changed['sequence']} of" in replay(str(path))["first_difference"]
    assert f"of {changed['hub']}" in replay(str(path))["first_difference"]
    written[last] = changed | {"taken_at": changed["clock"] + 1}  # after it was made
    path.write_text("".join(json.dumps(line) + "\n" for line in written))
    with pytest.raises(BadStorage, match=f"no push where {changed['hub']} took one"):
        replay(str(path))
    moves = [k for k, line in enumerate(lines) if line.get("event") == "move"]
    written = [line for k, line in enumerate(lines) if k != moves[0]]
    path.write_text("".join(json.dumps(line) + "\n" for line in written))
    with pytest.raises(BadStorage, match="what it had recorded"):
        replay(str(path))
