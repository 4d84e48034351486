"""Waits for a cloud's notice that this machine goes, and drains the Ray node that is on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import ray

from actors.cluster import joined_cluster
from actors.draining import drain_node
from ray_easgd.notices import Notice, Watch


@dataclass(frozen=True, kw_only=True, slots=True)
class Drained:
    """``node_id`` is Ray's, in hex."""

    node_id: str
    notice: Notice

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        notice = self.notice
        gone_at = notice.gone_at.isoformat() if notice.gone_at else None
        return {"reason": notice.reason, "gone_at": gone_at, "node_id": self.node_id}


def drain_on_notice(
    watch: Watch, *, address: str | None, poll_s: float, once: bool, tell: Callable[[str], None]
) -> Drained | None:
    """Look every ``poll_s`` seconds until there is a notice, and drain this machine's node.

    With ``once`` look a single time, and return None where there is no notice. The cluster is the
    one at ``address``, or the one on this machine; nothing is kept open to it in between, so it may
    be started anew meanwhile. Raises BadCluster where it does not answer.
    """
    with joined_cluster(address):
        tell(f"watching for notices of {watch.cloud} to node {_own_node()}")
    while (notice := watch.look(datetime.now(UTC))) is None:
        if once:
            return None
        time.sleep(poll_s)
    with joined_cluster(address):
        node_id = _own_node()
        tell(
            f"{watch.cloud} will reclaim this machine at {notice.gone_at:%Y-%m-%d %H:%M:%S %Z} "
            f"({notice.reason}): draining node {node_id}, its workers say goodbye first"
        )
        drain_node(
            node_id,
            message=f"{notice.cloud}: {notice.reason}",
            deadline_s=notice.left_s(datetime.now(UTC)),
        )
    return Drained(node_id=node_id, notice=notice)


def _own_node() -> str:
    return str(ray.get_runtime_context().get_node_id())
