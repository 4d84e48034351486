"""A hub at a glance. Torch is not imported here: the controller reads it, and needs none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ray_easgd.progress import Progress
from ray_easgd.protocol import Version


@dataclass(frozen=True, kw_only=True, slots=True)
class HubStatus:
    """A hub at a glance.

    ``lives``: who its children are by their incarnations, which each slice numbers by itself.
    ``sharing``: children that exchange in its own memory; ``why_alone``: why one that asked to
    does not. ``exchanges_per_s`` with its children, since it was last asked. With its parent:
    ``distance``, ``staleness``, and since it met it ``exchanges``, the seconds these were under
    way, and bytes.
    """

    version: Version
    steps: int
    progress: Progress
    lives: tuple[dict[int, str], ...]
    moving_rate: float
    duplicates: int
    refused: int
    snapshots: int
    num_parameters: int
    sharing: int = 0
    why_alone: str = ""
    distance: float = float("nan")
    staleness: float = float("nan")
    name: str = "center"
    parent: str = ""
    exchanges_per_s: float = float("nan")
    exchanges: int = 0
    exchange_s: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def children(self) -> dict[int, str]:
        """Those of the first slice."""
        return self.lives[0]

    def lives_of(self, child: str) -> list[list[int]]:
        """That child's, slice by slice."""
        return [[k for k, name in lives.items() if name == child] for lives in self.lives]


def joined(parts: Sequence[HubStatus]) -> HubStatus:
    """The slices of one center at a glance: what they count together, and the first one's rest.

    A push carries data once every slice has it, so an interval is in one slice's book.
    """
    if len(parts) == 1:
        return parts[0]
    sizes = [p.num_parameters for p in parts]  # 0 until a child has joined
    return replace(
        parts[0],
        progress=Progress.union(p.progress for p in parts),
        lives=tuple(lives for p in parts for lives in p.lives),
        duplicates=sum(p.duplicates for p in parts),
        refused=sum(p.refused for p in parts),
        snapshots=sum(p.snapshots for p in parts),
        num_parameters=sum(sizes) if all(sizes) else 0,
    )
