"""Rules about what travels: lines that are slow, and exchanges that come too late for them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ray_easgd.doctor.evidence import ChildLook, EdgeLook, Evidence
from ray_easgd.doctor.finding import Finding, listed, size

_SLOW_S = 0.5  # many times what a small message takes on a busy machine
_SLOW_BYTES_PER_S = 50e6
_OFTEN = 0.5  # of the exchanges that were due


@dataclass(frozen=True, slots=True)
class _Slow:
    """A child whose exchanges take long and come late. ``late`` of ``due`` between the looks."""

    child: ChildLook
    hub: str
    took_s: float
    num_bytes: float
    direction: str
    late: int
    due: int
    is_under_way: bool

    @property
    def bytes_per_s(self) -> float:
        return self.num_bytes / self.took_s

    @property
    def told(self) -> str:
        took = f"{self.took_s:.2g} s"
        done = (
            f"has been under way for {took}"
            if self.is_under_way
            else f"took {took} at least lately"
        )
        late = f"; {self.late} of {self.due} exchanges came late" if self.due else ""
        return f"its {self.direction} of {size(self.num_bytes)} {done}{late}"


def link_slow(evidence: Evidence) -> Iterator[Finding]:
    """A line that carries little, though both of its ends answer."""
    slow = [found for found in _slow(evidence) if found.bytes_per_s < _SLOW_BYTES_PER_S]
    by_hub: dict[str, list[_Slow]] = {}
    for found in slow:
        by_hub.setdefault(found.hub, []).append(found)
    for hub, ones in by_hub.items():
        afar = [child for child in evidence.second.children if _edge_to(child, hub) is not None]
        if len(ones) == len(afar) > 1:
            yield _all_slow(evidence, hub, ones)
        else:
            yield from (_one_slow(evidence, found) for found in ones)


def exchanges_late(evidence: Evidence) -> Iterator[Finding]:
    """A vector that is too large for its period, on a line that does what it can."""
    for found in _slow(evidence):
        if found.bytes_per_s >= _SLOW_BYTES_PER_S:
            yield Finding(
                cause="exchanges_late",
                subject=found.child.name,
                evidence=f"{found.child.name} exchanges with {found.hub} less often than it "
                f"should: {found.told}, at {size(found.bytes_per_s)}/s.",
                remedy="Raise algorithm.period, or send less: exchange.format=bfloat16 or int8, "
                "exchange.fragments, a tree (topology.levels).",
            )


RULES = (link_slow, exchanges_late)


def _one_slow(evidence: Evidence, found: _Slow) -> Finding:
    name, hub = found.child.name, found.hub
    here = evidence.node_of(evidence.process_of(name)).name
    there = evidence.node_of(evidence.process_of(hub)).name
    return Finding(
        cause="link_slow",
        subject=f"{name} - {hub}",
        evidence=f"between {name} on node {here} and {hub} on node {there}: {found.told}; "
        f"{_rate(found)}{_staleness(evidence, name)}. Both ends answer.",
        remedy=_REMEDY,
    )


def _all_slow(evidence: Evidence, hub: str, ones: list[_Slow]) -> Finding:
    worst = max(ones, key=lambda found: found.took_s)
    node = evidence.node_of(evidence.process_of(hub))
    load = f", load {node.load:.1f} on {node.cores} cores" if node.cores else ""
    names = listed(found.child.name for found in ones)
    return Finding(
        cause="link_slow",
        subject=f"{hub} - all of its children",
        evidence=f"the exchanges of all that are linked to {hub} (node {node.name}{load}) are "
        f"slow: {names}. Of {worst.child.name} {worst.told}; {_rate(worst)}"
        f"{_staleness(evidence, worst.child.name)}. Both ends answer.",
        remedy=f"What they share is {hub} and its node's line. {_REMEDY} A tree "
        "(topology.levels) takes children off it.",
    )


_REMEDY = (
    "Measure the line (iperf3 between the two nodes). Send less: exchange.format=int8 is a quarter "
    "of float32, exchange.fragments spreads it, a higher algorithm.period asks for less. Below "
    "1 Gbit/s start the nodes as README.md says under 'What an exchange costs'."
)


def _rate(found: _Slow) -> str:
    return f"that is {found.bytes_per_s * 8 / 1e6:.3g} Mbit/s"


def _staleness(evidence: Evidence, name: str) -> str:
    was, now = evidence.worker(name)
    if was is None or now is None or not now.staleness > was.staleness:
        return ""
    return f"; its staleness went from {was.staleness:g} to {now.staleness:g} versions"


def _slow(evidence: Evidence) -> Iterator[_Slow]:
    """Late exchanges are nothing by themselves: small steps are often too quick for any line."""
    for child in evidence.second.children:
        before, _ = evidence.child(child.name)
        for hub in sorted({edge.hub for edge in child.edges if not edge.in_memory}):
            process = evidence.process_of(hub)
            if process is None or process.unanswered_s or before is None:
                continue  # who is dead or stopped is the cause
            edge = _edge_to(child, hub)
            assert edge is not None
            if (found := _measured(before, child, edge)) is not None:
                yield found


def _measured(before: ChildLook, child: ChildLook, edge: EdgeLook) -> _Slow | None:
    late = child.exchanges_late - before.exchanges_late
    due = max(late, child.exchanges - before.exchanges)
    pull, push = (
        _longest(edge.pull_s, edge.pulling_for_s),
        _longest(edge.push_s, edge.pushing_for_s),
    )
    took = max(pull, push)
    is_under_way = took in (edge.pulling_for_s, edge.pushing_for_s)
    if took < _SLOW_S or not (is_under_way or late >= max(1, _OFTEN * due)):
        return None
    received = pull >= push
    total = child.bytes_received if received else child.bytes_sent
    return _Slow(
        child=child,
        hub=edge.hub,
        took_s=took,
        num_bytes=total / max(1, child.exchanges),
        direction="pull" if received else "push",
        late=late,
        due=due,
        is_under_way=is_under_way,
    )


def _longest(usual_s: float, now_s: float) -> float:
    return now_s if math.isnan(usual_s) else max(usual_s, now_s)


def _edge_to(child: ChildLook, hub: str) -> EdgeLook | None:
    """The slowest of its edges to a hub that messages travel on."""
    edges = [edge for edge in child.edges if edge.hub == hub and not edge.in_memory]
    return max(edges, key=_slowness, default=None)


def _slowness(edge: EdgeLook) -> float:
    pull = _longest(edge.pull_s, edge.pulling_for_s)
    return max(pull, _longest(edge.push_s, edge.pushing_for_s))
