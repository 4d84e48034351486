"""What a hub that died leaves behind, gathered from its children that answer.

Nobody waits for a child that is stopped: it joins the successor later, as a new life.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.exceptions import RayError

from ray_easgd.parameters import Slot
from ray_easgd.protocol import SnapshotHeader, Version

if TYPE_CHECKING:
    from actors.links import HubLink
    from ray_easgd.shared.segment import Address

ANSWER_S = 2.0
_UNHEARD_OF = 1024  # lives that may have begun since anybody told the driver

Lives = Mapping[int, str]
"""Incarnations, and whose they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """What a child has that could bring back one slice of a hub that died.

    Its life there, the version of the newest snapshot it was given, and the way into the hub's
    memory where it exchanges in that.
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
    """The newest snapshot of a hub's slice that an edge was given."""
    snapshot = [link for link in links if link.hub_name == hub][part].newest
    assert snapshot is not None
    return snapshot.header, snapshot.vector.cpu().numpy()  # a GPU worker has it on its device


@dataclass(frozen=True, kw_only=True)
class Legacy:
    """What is left of a hub, slice by slice.

    ``lives`` are its children, ``afar`` those that answered and exchange by messages.
    ``addresses`` lead into the hub's memory, through children on its node; empty where nobody has
    it. ``keepers`` hold the newest snapshot that anybody was given, of ``version`` at least:
    actors, to be asked by ``newest``.
    """

    layout: tuple[Slot, ...]
    lives: tuple[Lives, ...]
    afar: tuple[Lives, ...]
    addresses: tuple[Address, ...]
    keepers: tuple[Any, ...]
    version: Version

    @property
    def youngest(self) -> int:
        """No life is younger: a number is given once, also if its owner never answered."""
        return max((life for lives in self.lives for life in lives), default=0) + _UNHEARD_OF

    @property
    def known(self) -> tuple[frozenset[int], ...]:
        """The lives of those afar: they can say what a snapshot lacks of them."""
        return tuple(frozenset(lives) for lives in self.afar)


def gather(
    hub: str, children: Sequence[Any], num_slices: int, known: Lives | None = None
) -> Legacy | None:
    """Ask the children of a hub, by its name; None where nobody has anything.

    ``known``: the lives that it had told of, of whom some may be stopped.
    """
    asked = {child.holdings.remote(hub): child for child in children}
    answered = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)[0] if asked else []
    found: list[tuple[Any, tuple[Holding, ...]]] = []
    for reference in answered:
        try:
            holdings = ray.get(reference)
        except RayError:
            continue  # it died too
        if len(holdings) == num_slices:
            found.append((asked[reference], holdings))
    if not found:
        return None
    by_slice = [[(child, held[k]) for child, held in found] for k in range(num_slices)]
    addresses = [_first([h.address for _, h in each]) for each in by_slice]
    newest = [max(each, key=lambda one: one[1].version) for each in by_slice]
    has_memory = all(address is not None for address in addresses)
    return Legacy(
        layout=found[0][1][0].layout,
        lives=tuple(
            {**(known or {}), **{h.incarnation: h.child for _, h in each}} for each in by_slice
        ),
        afar=tuple(
            {h.incarnation: h.child for _, h in each if h.address is None} for each in by_slice
        ),
        addresses=tuple(a for a in addresses if a is not None) if has_memory else (),
        keepers=tuple(child for child, _ in newest),
        version=min(h.version for _, h in newest),
    )


def _first(addresses: Sequence[Address | None]) -> Address | None:
    return next((address for address in addresses if address is not None), None)
