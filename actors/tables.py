"""Ray's own books on actors and nodes: the one place that reads what Ray keeps private of them.

Ray's public word for it (``ray.util.state``) needs a dashboard, which many clusters have not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import ray

from ray_easgd.doctor.evidence import Kind, NodeLook, ProcessLook, State

_PREFIX: tuple[tuple[str, Kind], ...] = (
    ("worker-", "worker"),
    ("spare-", "spare"),
    ("center", "hub"),
    ("aggregator-", "hub"),
    ("controller", "controller"),
)
_STATES: dict[str, State] = {"ALIVE": "alive", "DEAD": "dead", "RESTARTING": "restarting"}
WISHED = "ended through Ray's own kill"


def processes_of(run: str) -> dict[str, tuple[ProcessLook, str]]:
    """The actors of a run that is going on, by their names; each with its namespace.

    Those of an earlier run of that name had ended before this one's controller began.
    """
    rows = [row for row in _actor_rows() if row.name.startswith(f"{run}:")]
    began = max((r.start_time for r in rows if _kind(r.name, run) == "controller"), default=0)
    rows = [row for row in rows if _state(row) != "dead" or row.end_time >= began]
    rows.sort(key=lambda row: (_state(row) != "dead", row.start_time))  # the living, newest, last
    return {row.name: (_process(row, run), row.ray_namespace) for row in rows}


def nodes() -> list[NodeLook]:
    """The living nodes, by Ray's word."""
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    return [
        NodeLook(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            total=node["Resources"],
            free=free.get(node["NodeID"], {}),
            store_bytes=int(node["Resources"].get("object_store_memory", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _actor_rows() -> Iterator[Any]:
    from ray._private.state import state

    accessor = state._connect_and_get_accessor()  # noqa: SLF001
    for row in accessor.get_actor_table(None, None):
        yield _words().ActorTableData.FromString(row)


def _process(row: Any, run: str) -> ProcessLook:
    name = row.name.removeprefix(f"{run}:")
    kind, death = _kind(row.name, run), _death(row)
    if kind == "worker" and death == WISHED:
        death = ""  # as the run ends those who left, or who are too many
    return ProcessLook(
        name=name,
        kind=kind,
        state=_state(row),
        seat="" if kind == "spare" else re.sub(r"\.\d+$", "", name),
        node=row.address.node_id.hex() if row.address.node_id else "",
        pid=row.pid,
        age_s=max(0.0, time.time() - row.start_time / 1000) if row.start_time else 0.0,
        death=death,
        needs=dict(row.required_resources),
    )


def _kind(name: str, run: str) -> Kind:
    role = name.removeprefix(f"{run}:")
    kinds: list[Kind] = [kind for prefix, kind in _PREFIX if role.startswith(prefix)]
    return kinds[0] if kinds else "other"


def _state(row: Any) -> State:
    return _STATES.get(_words().ActorTableData.ActorState.Name(row.state), "pending")


def _words() -> Any:
    """Ray's messages; their classes are made at run time, so no type checker knows them."""
    from ray.core.generated import gcs_pb2

    return gcs_pb2


def _death(row: Any) -> str:
    """The first line of Ray's reason; empty for the living."""
    if _state(row) != "dead":
        return ""
    which = row.death_cause.WhichOneof("context")
    context = getattr(row.death_cause, which) if which else None
    message = str(getattr(context, "error_message", "")).strip()
    if "ray.kill" in message:
        return WISHED
    return message.splitlines()[0] if message else str(which or "")
