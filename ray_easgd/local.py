"""A hub in the same process: the link that needs no cluster. Nothing overlaps, nothing is random.

It carries the deterministic tests, and any loop one wants to step through in a debugger.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ray_easgd.hub import Hub
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import PushHeader, PushReply


class LocalLink:
    """A child's edge to a hub it can call: each pull and push is done when the call returns."""

    def __init__(self, hub: Hub, child: str = "worker") -> None:
        self.hub, self._child = hub, child
        self._incarnation = 0
        self._arrived: Snapshot | None = None
        self._replies: list[PushReply] = []
        self.busy = False

    def join(self, vector: Tensor, layout: Sequence[Slot]) -> tuple[int, Snapshot]:
        self._incarnation = self.hub.admit(self._child, vector, layout)
        return self._incarnation, self._snapshot()

    def pull(self) -> None:
        self._arrived = self._snapshot()

    def pulled(self) -> Snapshot | None:
        arrived, self._arrived = self._arrived, None
        return arrived

    def push(self, header: PushHeader, d: Tensor) -> None:
        self._replies.append(self.hub.apply(header, d))

    def replies(self) -> list[PushReply]:
        replies, self._replies = self._replies, []
        return replies

    def drain(self) -> None:
        """Nothing is ever under way."""

    def leave(self) -> None:
        self.hub.dismiss(self._incarnation)

    def _snapshot(self) -> Snapshot:
        assert self.hub.vector is not None
        return Snapshot(self.hub.header(), self.hub.vector.clone())
