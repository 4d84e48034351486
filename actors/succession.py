"""What a hub that died leaves behind, gathered from its children that answer.

Nobody waits for a child that is stopped: it joins the successor later, as a new life.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.exceptions import RayError

from ray_easgd.parameters import Slot
from ray_easgd.protocol import SnapshotHeader, Version

if TYPE_CHECKING:
    from ray import ObjectRef

    from actors.links import HubLink
    from ray_easgd.shared.segment import Address

ANSWER_S = 2.0
_PATIENCE_S = 8.0
_UNHEARD_OF = 1024  # lives that may have begun since anybody told the driver

Lives = Mapping[int, str]
"""Incarnations, and whose they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """What a child has that could bring back one slice of a hub that died.

    Its life there, and the version of the newest snapshot it was given; or where it exchanges in
    the hub's memory the way into that, and the version that it has now.
    """

    child: str
    incarnation: int
    version: Version
    layout: tuple[Slot, ...]
    address: Address | None


def holdings(links: Sequence[HubLink], hub: str) -> tuple[Holding, ...]:
    """What these edges have of a hub, slice by slice; empty if one of them has nothing yet."""
    held = [link.holding for link in links if link.hub_name == hub]
    return tuple(h for h in held if h is not None) if None not in held else ()


def newest(links: Sequence[HubLink], hub: str, part: int) -> tuple[SnapshotHeader, np.ndarray]:
    """The newest that an edge has of a hub's slice: what is in its memory, or a snapshot.

    SharedMemoryUnavailable where there is no way into the memory: the snapshot of who exchanges
    there is that of its join, and may be older than a checkpoint.
    """
    link = [link for link in links if link.hub_name == hub][part]
    snapshot, held = link.newest, link.holding
    assert snapshot is not None
    if held is not None and held.address is not None:
        return _remembered(held.address, snapshot.header)
    return snapshot.header, snapshot.vector.cpu().numpy()  # a GPU worker has it on its device


def _remembered(address: Address, at_first: SnapshotHeader) -> tuple[SnapshotHeader, np.ndarray]:
    """A copy of what is in a hub's memory, valid element by element, by a mapping of its own.

    Whose pushes it has by messages stands nowhere there, nor behind which data it is.
    """
    from ray_easgd.shared.segment import Segment

    with Segment.open(address) as segment:
        board = segment.board
        version = Version(board.hub_epoch, board.version_count)
        return replace(at_first, version=version, applied={}, progress=()), segment.vector.copy()


@dataclass(frozen=True, kw_only=True)
class Legacy:
    """What is left of a hub, slice by slice.

    ``lives`` are its children. ``addresses`` lead into the hub's memory, through each child on its
    node that answered; empty where nobody has it. ``keepers`` are the children of each slice, who
    has the newest first, of ``versions`` at least. ``in_memory``: these have that from its memory.
    ``afar`` are those that answered, exchange by messages, and can say what a keeper's snapshot
    lacks of them.
    """

    layout: tuple[Slot, ...]
    lives: tuple[Lives, ...]
    afar: tuple[Lives, ...]
    addresses: tuple[tuple[Address, ...], ...]
    keepers: tuple[tuple[Any, ...], ...]
    versions: tuple[Version, ...]
    in_memory: bool

    @property
    def version(self) -> Version:
        """Of the oldest slice."""
        return min(self.versions)

    @property
    def memory(self) -> tuple[str, ...]:
        """The token of each slice's."""
        return tuple(each[0].token for each in self.addresses)

    @property
    def youngest(self) -> int:
        """No life is younger: a number is given once, also if its owner never answered."""
        return max((life for lives in self.lives for life in lives), default=0) + _UNHEARD_OF

    @property
    def known(self) -> tuple[frozenset[int], ...]:
        """The lives of those afar: they can say what a snapshot lacks of them."""
        return tuple(frozenset(lives) for lives in self.afar)


def gather(
    hub: str, children: Sequence[Any], num_slices: int, known: Sequence[Lives] = ()
) -> Legacy | None:
    """Ask the children of a hub, by its name; None where nobody has anything.

    ``known``: the lives of each slice that it had told of, of whom some may be stopped.
    """
    asked = {child.holdings.remote(hub): child for child in children}
    found = _those_who_have_all(asked, num_slices)
    if not found:
        return None
    slices = [_Slice([(child, held[k]) for child, held in found]) for k in range(num_slices)]
    has_memory = all(each.addresses for each in slices)
    return Legacy(
        layout=found[0][1][0].layout,
        lives=tuple(
            {**told, **each.lives}
            for told, each in zip(known or [{}] * num_slices, slices, strict=True)
        ),
        afar=tuple(each.afar for each in slices),
        addresses=tuple(each.addresses for each in slices) if has_memory else (),
        keepers=tuple(each.keepers for each in slices),
        versions=tuple(each.version for each in slices),
        in_memory=all(each.is_remembered for each in slices),
    )


def kept(keepers: Sequence[Any], hub: str, part: int) -> tuple[SnapshotHeader, np.ndarray] | None:
    """What the first of them has who can say so; None where nobody can any more.

    For the answer there is a limit, as one may have been stopped; not for its way here.
    """
    for keeper in keepers:
        asked = keeper.newest.remote(hub, part)
        if ray.wait([asked], timeout=_PATIENCE_S, fetch_local=False)[0]:
            with suppress(RayError):
                found: tuple[SnapshotHeader, np.ndarray] = ray.get(asked)
                return found
    return None


_Found = list[tuple[Any, tuple[Holding, ...]]]


def _those_who_have_all(asked: Mapping[ObjectRef[Any], Any], num_slices: int) -> _Found:
    """Of those who answer in time. Where none of these has anything, the first who has is waited
    for: a machine that is busy for a moment is no reason to forget what the children have."""
    found: _Found = []
    waiting, until = list(asked), time.monotonic() + ANSWER_S + _PATIENCE_S
    number, patience_s = len(waiting), ANSWER_S
    while waiting and not found and patience_s > 0:
        answered, waiting = ray.wait(waiting, num_returns=number, timeout=patience_s)
        for reference in answered:
            with suppress(RayError):  # it died too
                held = ray.get(reference)
                found += [(asked[reference], held)] if len(held) == num_slices else []
        number, patience_s = 1, until - time.monotonic()
    return found


class _Slice:
    """What children have of one slice. The memory of an older epoch is nobody's: who is in it has
    not heard yet of the hub's last succession."""

    def __init__(self, held: Sequence[tuple[Any, Holding]]) -> None:
        ranked = sorted(held, key=lambda one: one[1].version, reverse=True)
        self.keepers, newest = tuple(child for child, _ in ranked), ranked[0][1]
        self.version, self.is_remembered = newest.version, newest.address is not None
        self.lives = {one.incarnation: one.child for _, one in held}
        by_messages = {one.incarnation: one.child for _, one in held if one.address is None}
        self.afar = {} if self.is_remembered else by_messages
        self.addresses = tuple(
            one.address
            for _, one in held
            if one.address is not None and one.version.epoch == self.version.epoch
        )
