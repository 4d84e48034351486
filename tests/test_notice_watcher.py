"""The watcher on a node of its own: a notice comes, and the node drains."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import ray

from actors.draining import drain_node, draining_nodes
from actors.lifecycle import on
from actors.local_nodes import LocalNode
from actors.notice_watcher import Drained, drain_on_notice
from ray_easgd.errors import BadCluster
from ray_easgd.notices import Aws, Watch
from tests.metadata_service import ACTION, standing
from tests.test_node_loss import node  # noqa: F401 (a fixture is used by its name)

pytestmark = pytest.mark.cluster


def test_a_notice_drains_the_node_that_it_comes_to(node: LocalNode) -> None:  # noqa: F811
    there = node.id

    @ray.remote(num_cpus=1)
    class Busy:  # an idle node that drains is gone at once
        def ready(self) -> None: ...

    @ray.remote(num_cpus=0)
    def watch(url: str) -> tuple[Drained | None, list[str]]:
        told: list[str] = []
        watching = Watch(Aws(url), told.append)
        drained = drain_on_notice(watching, address=None, poll_s=0.01, once=False, tell=told.append)
        return drained, told

    busy: Any = Busy.options(scheduling_strategy=on(there)).remote()  # type: ignore[attr-defined]
    ray.get(busy.ready.remote())
    gone_at = datetime.now(UTC) + timedelta(minutes=10)
    with standing() as stand:
        asked = watch.options(scheduling_strategy=on(there)).remote(stand.aws().url)
        assert draining_nodes() == {}
        stand.answers[ACTION] = json.dumps({"action": "terminate", "time": gone_at.isoformat()})
        drained, told = ray.get(asked)
    assert drained is not None
    assert drained.node_id == there
    assert "its workers say goodbye first" in told[-1]
    assert draining_nodes().keys() == {there}
    assert draining_nodes()[there] >= int(1000 * gone_at.timestamp()) - 1
    ray.get(busy.ready.remote())  # nothing there has been ended


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("node_id", ["0" * 56, "not hex"])
def test_a_node_that_is_not_there_is_not_drained_silently(node_id: str) -> None:
    with pytest.raises(BadCluster, match="no living node"):
        drain_node(node_id, message="gone", deadline_s=30.0)
