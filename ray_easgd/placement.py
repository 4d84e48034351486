"""Where each process of a run belongs on a cluster whose nodes say what they are. The whole policy.

| role | on a labelled cluster | else, and without labels |
|---|---|---|
| center, controller | an on-demand node: the driver's if that is one | beside the driver |
| shard: further processes of a center | on-demand nodes | anywhere, spread |
| evaluator | an on-demand node | anywhere |
| worker, spare | a spot node | anywhere that has room |
| aggregator | one per node, or per value of a label, and there on-demand before spot | the same |

A cluster is labelled where a living node carries ``ray.io/market-type``; the labels are Ray's own
standard ones. A preference is no condition: a node that is there ends every list, so that no label
keeps a run from starting, and an autoscaler sees a demand that it can meet. Pure: no ray here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

MARKET = "ray.io/market-type"
NODE = "ray.io/node-id"
ON_DEMAND, SPOT = "on-demand", "spot"

Role = Literal["center", "shard", "controller", "evaluator", "worker"]
Labels = Mapping[str, str]
Selector = dict[str, str]


def preferences(
    role: Role, nodes: Mapping[str, Labels], *, driver: str, silent: Collection[str] = ()
) -> list[Selector]:
    """Which labels a process of that role looks for: the best first, ``{}`` is any node.

    ``nodes``: the labels of the living nodes by their ids; ``driver`` is the driver's node;
    ``silent``: those of them that do not answer, whatever Ray believes. An empty list: nothing is
    asked for, and all is as on a cluster without labels.
    """
    markets = {labels.get(MARKET) for labels in nodes.values()}
    if role == "worker":
        return [{MARKET: SPOT}, {}] if markets - {None} else []
    kept_at_home = role in ("center", "controller")
    if ON_DEMAND not in markets or (kept_at_home and _is_on_demand(nodes.get(driver, {}))):
        return []
    on_demand = {MARKET: ON_DEMAND} | _other_than(silent)
    return [on_demand, {NODE: driver} if kept_at_home else {}]


def hosts(placement: str, nodes: Mapping[str, Labels]) -> dict[str, list[str]]:
    """For aggregators: the nodes by what they share, each group's best first.

    ``placement``: ``node`` and ``free`` make a group of each node, a label one of each of its
    values, without the nodes that lack it. What survives the spot market comes first.
    """
    groups: dict[str, list[str]] = {}
    for node, labels in nodes.items():
        if placement in ("node", "free", *labels):
            groups.setdefault(labels.get(placement, node), []).append(node)
    for members in groups.values():
        members.sort(key=lambda node: not _is_on_demand(nodes[node]))
    return groups


def _is_on_demand(labels: Labels) -> bool:
    return labels.get(MARKET) == ON_DEMAND


def _other_than(nodes: Iterable[str]) -> Selector:
    listed = ",".join(sorted(nodes))
    return {NODE: f"!in({listed})"} if listed else {}
