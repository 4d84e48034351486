"""A child's own word on how it is, for whoever asks from outside. Imports no torch."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ray_easgd.doctor.evidence import ChildLook, EdgeLook

if TYPE_CHECKING:
    from actors.links import HubLink
    from ray_easgd.elastic_options import ElasticCounts

_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


def glance(
    name: str,
    links: Sequence[HubLink],
    *,
    clock: int = 0,
    counts: Iterable[ElasticCounts] = (),
    waits: bool = False,
    doing: str = "",
) -> ChildLook:
    """``counts``: of each of its slices."""
    counts = list(counts)
    return ChildLook(
        name=name,
        clock=clock,
        exchanges=sum(c.exchanges for c in counts),
        exchanges_late=sum(c.exchanges_late for c in counts),
        bytes_sent=sum(c.bytes_sent for c in counts),
        bytes_received=sum(c.bytes_received for c in counts),
        waits=waits,
        doing=doing,
        edges=tuple(_edge(link, waits=waits) for link in links),
    )


def place_of(thread: int | None) -> str:
    """Where in the code a thread is: its innermost line outside the libraries, if there is one."""
    frame = sys._current_frames().get(thread) if thread else None  # noqa: SLF001
    if frame is None:
        return ""
    lines = traceback.extract_stack(frame)
    own = [line for line in lines if not line.filename.startswith((*_LIBRARIES, "<"))]
    line = (own or lines)[-1]
    return f"{line.filename}:{line.lineno} in {line.name}"


def _edge(link: HubLink, *, waits: bool) -> EdgeLook:
    """What a method that waits pulls comes when others have pushed: no measure of a line."""
    incoming, outgoing = link.incoming, link.outgoing
    return EdgeLook(
        hub=link.hub_name,
        in_memory=link.in_memory,
        pull_s=float("nan") if waits else incoming.quickest_s,
        pulling_for_s=0.0 if waits else incoming.under_way_s,
        push_s=outgoing.quickest_s,
        pushing_for_s=outgoing.under_way_s,
    )
