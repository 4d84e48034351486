"""Rules about room: for workers on the cluster, and for vectors in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ray_easgd.doctor.evidence import Evidence, NodeLook, ProcessLook
from ray_easgd.doctor.finding import Finding, amounts, listed, size

_FLOAT_BYTES = 4
_SHM = "/dev/shm"


def no_resources(evidence: Evidence) -> Iterator[Finding]:
    """Processes that wait for room which no node has."""
    by_needs: dict[str, list[ProcessLook]] = {}
    for process in _waiting(evidence):
        if not _fits(evidence, process):
            by_needs.setdefault(amounts(process.needs), []).append(process)
    for needs, ones in by_needs.items():
        yield _no_room(evidence, needs, ones)


def shm_too_small(evidence: Evidence) -> Iterator[Finding]:
    """Vectors that travel through an object store which is on disk, or cannot hold them."""
    root = next((hub for hub in evidence.second.hubs if hub.name == "center"), None)
    vector = _FLOAT_BYTES * root.num_parameters if root else 0
    for node in evidence.second.nodes:
        messages = _num_messages(evidence, node)
        needed = vector * (2 + 2 * messages)
        is_in_shm = node.store_in.startswith(_SHM)
        room = min(node.store_bytes, node.shm_bytes) if is_in_shm else node.store_bytes
        is_on_disk = bool(node.store_in) and not is_in_shm and node.shm_bytes < node.store_bytes
        is_short = bool(node.store_in) and needed > room
        if vector and (is_short or (is_on_disk and messages)):
            where = f"Ray's object store of node {node.name} lies in {node.store_in}"
            on_disk = ", which is a disk and not memory" if is_on_disk else ""
            yield Finding(
                cause="shm_too_small",
                subject=f"node {node.name}",
                evidence=f"/dev/shm of node {node.name} has {size(node.shm_bytes)} in all. "
                f"{where}{on_disk}, and has {size(node.store_bytes)}; vectors of {size(vector)} "
                f"on {messages} message links there take up to {size(needed)}.",
                remedy="Give the container a larger /dev/shm (docker run --shm-size; a "
                "memory-backed emptyDir at /dev/shm on Kubernetes), above 30 % of its memory, and "
                "start Ray there again.",
            )


def memory_too_small(evidence: Evidence) -> Iterator[Finding]:
    """A hub that could not share its vector with the children of its node."""
    for hub in evidence.second.hubs:
        if hub.lacks_memory:
            node = evidence.node_of(evidence.process_of(hub.name))
            yield Finding(
                cause="memory_too_small",
                subject=hub.name,
                evidence=f"{hub.name} on node {node.name} cannot share its vector of "
                f"{size(_FLOAT_BYTES * hub.num_parameters)} in memory: {hub.lacks_memory}. Its "
                "children there exchange by messages, at ten times the cost.",
                remedy="Raise the container's memory limit, or have fewer workers on that node.",
            )


RULES = (no_resources, shm_too_small, memory_too_small)


def _waiting(evidence: Evidence) -> Iterator[ProcessLook]:
    """Those that were pending at both looks."""
    waited = {p.name for p in evidence.first.processes if p.state == "pending"}
    for process in evidence.second.processes:
        if process.state == "pending" and process.name in waited:
            yield process


def _fits(evidence: Evidence, process: ProcessLook) -> bool:
    return any(_has_room(node.free, process.needs) for node in evidence.second.nodes)


def _no_room(evidence: Evidence, needs: str, ones: list[ProcessLook]) -> Finding:
    asked = ones[0].needs
    nodes = evidence.second.nodes
    have = "; ".join(
        f"{n.name} has {amounts(_of(n.free, asked))} free of {amounts(_of(n.total, asked))}"
        for n in nodes[:4]
    )
    ever = any(_has_room(node.total, asked) for node in nodes)
    never = "" if ever else " No node could hold one even if nothing else ran there."
    return Finding(
        cause="no_resources",
        subject=listed(process.seat or process.name for process in ones),
        evidence=f"{len(ones)} of this run wait for room, at both looks: "
        f"each needs {needs}, and none of {len(nodes)} nodes has that ({have}).{never}",
        remedy="Add nodes, or lower fleet.cpus_per_worker or fleet.gpus_per_worker, or end what "
        "else runs there (`ray list actors`). With fleet.workers=min..max this is how a cluster "
        "learns to grow, and the others train meanwhile; `ray-easgd scale` asks for fewer.",
    )


def _of(have: Mapping[str, float], asked: Mapping[str, float]) -> dict[str, float]:
    return {kind: have.get(kind, 0.0) for kind in asked}


def _has_room(have: Mapping[str, float], needs: Mapping[str, float]) -> bool:
    return all(have.get(kind, 0.0) >= amount for kind, amount in needs.items())


def _num_messages(evidence: Evidence, node: NodeLook) -> int:
    """Edges by messages that have an end on that node."""

    def is_there(name: str) -> bool:
        process = evidence.process_of(name)
        return process is not None and process.node == node.id

    return sum(
        not edge.in_memory and (is_there(child.name) or is_there(edge.hub))
        for child in evidence.second.children
        for edge in child.edges
    )
