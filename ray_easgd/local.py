"""A hub in the same process: the link that needs no cluster. Nothing overlaps, nothing is random.

It carries the deterministic tests, and any loop one wants to step through in a debugger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ray_easgd.hub import Hub
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import PushHeader, PushReply
from ray_easgd.shared.clerk import Clerk
from ray_easgd.shared_hub import SharedHub
from ray_easgd.wire import Payload

if TYPE_CHECKING:
    from ray_easgd.shared.desk import Desk
    from ray_easgd.shared.segment import Segment


class LocalLink:
    """A child's edge to a hub it can call: each pull and push is done when the call returns.

    ``in_place``: exchange in the memory of a ``SharedHub`` instead, with ``by_clerk`` by messages.
    """

    def __init__(
        self, hub: Hub, child: str = "worker", *, in_place: bool = False, by_clerk: bool = False
    ) -> None:
        self.hub, self._child = hub, child
        self._in_place, self._by_clerk = in_place, by_clerk
        self.desk: Desk | None = None
        self.clerk: Clerk | None = None
        self._segment: Segment
        self._incarnation = 0
        self._asked: int | None = None
        self._arrived: Snapshot | None = None
        self._replies: list[PushReply] = []
        self.busy = self.orphaned = False

    def join(
        self, vector: Tensor, layout: Sequence[Slot], *, ledger_seed: int | None = None
    ) -> tuple[int, Snapshot]:
        self._incarnation = self.hub.admit(self._child, vector, layout)
        if self._in_place:
            assert isinstance(self.hub, SharedHub)
            place = self.hub.give_place(self._incarnation)
            assert place is not None, self.hub.why_alone
            self._close()
            self._segment, desk = place.open(self._incarnation, ledger_seed=ledger_seed)
            self.desk = None if self._by_clerk else desk
            self.clerk = Clerk(desk) if self._by_clerk else None
        return self._incarnation, self.hub.snapshot()

    def pull(self, showing: int | None = None) -> None:
        self._asked = -1 if showing is None else showing
        self._serve()

    def pulled(self) -> Snapshot | None:
        self._serve()
        arrived, self._arrived = self._arrived, None
        return arrived

    def push(self, header: PushHeader, d: Payload) -> None:
        receiver = self.clerk or self.hub
        self._replies.append(receiver.apply(header, d))

    def replies(self) -> list[PushReply]:
        replies, self._replies = self._replies, []
        return replies

    def drain(self, *, pulls: bool = True) -> None:
        """Nothing is ever under way but a round, which only this very thread could complete."""
        if self.clerk is not None:
            self.clerk.settle()
        if isinstance(self.hub, SharedHub):
            self.hub.collect()
        self._serve()
        if pulls and self._asked is not None:
            raise RuntimeError(
                f"{self._child} waits for a round of its hub, and nobody else runs in this thread."
            )

    def tell(self) -> None:
        if isinstance(self.hub, SharedHub):
            self.hub.proceed()

    def pass_up(self) -> None:
        """The hub is the center."""

    def leave(self) -> None:
        desk = self.desk or (self.clerk and self.clerk.desk)
        self.hub.progress.add(desk.untold if desk else ())
        self.hub.dismiss(self._incarnation)
        self._close()

    def _close(self) -> None:
        desk = self.desk or (self.clerk and self.clerk.desk)
        if desk is not None:
            desk.close()
            self._segment.close()
        self.desk = self.clerk = None

    def _serve(self) -> None:
        if self._asked is None:
            return
        if self._asked < 0 or self.hub.shows(self._incarnation, self._asked):
            self._asked, self._arrived = None, self._snapshot()

    def _snapshot(self) -> Snapshot:
        if self.clerk is None:
            return self.hub.snapshot()
        return self.clerk.fetch(torch.empty(self.clerk.desk.size))
