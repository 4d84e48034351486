"""The policy of ``ray_easgd/placement.py`` as Ray's actor options, on the cluster of now."""

from __future__ import annotations

import socket
from typing import Any

import ray

from actors.lifecycle import beside_the_driver
from ray_easgd.placement import MARKET, ON_DEMAND, Role, preferences

_ANSWER_WITHIN_S = 5.0

_UNLABELLED: dict[Role, Any] = {
    "center": beside_the_driver,
    "controller": beside_the_driver,
    "shard": lambda: "SPREAD",
}
"""How those are placed that no label decides about; the others Ray places as it likes."""


def placed(role: Role) -> dict[str, Any]:
    """Actor options that put a process of that role where the policy wants it."""
    nodes = {n["NodeID"]: n for n in ray.nodes() if n["Alive"]}
    labels = {node: known.get("Labels", {}) for node, known in nodes.items()}
    silent = {
        node
        for node, known in labels.items()
        if role != "worker" and known.get(MARKET) == ON_DEMAND and not _opens(nodes[node])
    }
    driver = ray.get_runtime_context().get_node_id()
    wanted = preferences(role, labels, driver=driver, silent=silent)
    if not wanted:
        return {"scheduling_strategy": _UNLABELLED[role]()} if role in _UNLABELLED else {}
    best, *others = wanted
    return {
        "label_selector": best,
        "fallback_strategy": [{"label_selector": other} for other in others],
    }


def answers(node: str) -> bool:
    """Whether a node is there now, by its id: Ray itself learns of a crash tens of seconds late."""
    found = [known for known in ray.nodes() if known["NodeID"] == node and known["Alive"]]
    return any(map(_opens, found))


def _opens(node: dict[str, Any]) -> bool:
    """Whether the door of a node's raylet opens."""
    try:
        door = node["NodeManagerAddress"], node["NodeManagerPort"]
        socket.create_connection(door, timeout=_ANSWER_WITHIN_S).close()
    except OSError:
        return False
    return True
