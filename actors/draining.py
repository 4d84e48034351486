"""Nodes that are about to go: the one place that reaches for what Ray keeps private about them."""

from __future__ import annotations

import time
from collections.abc import Callable

import ray
from ray.exceptions import RayError

from ray_easgd.errors import BadCluster

_ANSWER_S = 10.0
_LOOK_EVERY_S = 1.0


def drain_node(node_id: str, *, message: str, deadline_s: float) -> None:
    """Mark a node of the connected cluster as gone in ``deadline_s`` seconds.

    Ray places nothing new there from now on and ends nothing by itself: whoever takes the machine
    does. Raises BadCluster where no living node has that id (hex), or the cluster does not do it.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # as `ray drain-node` does
    from ray.core.generated import autoscaler_pb2 as words

    living = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    if node_id not in living:  # Ray would say yes, and do nothing
        raise _refused(node_id, "no living node of the cluster has that id", "See `ray list nodes`")
    by_ms = int(1000 * (time.time() + deadline_s))
    reason = getattr(words, "DRAIN_NODE_REASON_PREEMPTION")  # noqa: B009  (made at run time)
    try:
        gcs = GcsClient(address=ray.get_runtime_context().gcs_address)
        accepted, why_not = gcs.drain_node(node_id, reason, message, by_ms, timeout=_ANSWER_S)
    except RayError as error:
        raise _refused(
            node_id, f"the cluster does not answer: {error}", "See `ray status`"
        ) from error
    if not accepted:
        raise _refused(node_id, f"Ray does not drain it: {why_not}", "See the log of its raylet")


def draining_nodes() -> dict[str, int]:
    """The nodes that drain, by id, each with its deadline in Unix milliseconds; 0 is none."""
    # Private, but what Ray Train itself asks; Ray has no public word for it. Where another version
    # has moved it, no node seems to drain: its workers then count as crashed when it goes.
    try:
        from ray._private.state import state

        return dict(state.get_draining_nodes())
    except (ImportError, AttributeError):
        return {}


class DrainWatch:
    """The nodes that are about to go, asked for now and then; ``tell`` takes kind and message."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self.nodes: set[str] = set()
        self._tell, self._due = tell, 0.0

    def look(self) -> set[str]:
        """Those known by now."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _LOOK_EVERY_S
            for node in draining_nodes().keys() - self.nodes:
                self.nodes.add(node)
                self._tell(
                    "draining", f"node {node[:8]} is about to go: its workers say goodbye first"
                )
        return self.nodes


def _refused(node_id: str, problem: str, remedy: str) -> BadCluster:
    return BadCluster("node", node_id, problem, f"{remedy}.")
