"""An edge as the child sees it: one interface, whatever carries the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from ray_easgd.parameters import Slot
from ray_easgd.protocol import PushHeader, PushReply, SnapshotHeader
from ray_easgd.wire import Payload

if TYPE_CHECKING:
    from ray_easgd.shared.desk import Desk


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable published copy of a hub's vector, shape (n,), on the CPU: never write to it."""

    header: SnapshotHeader
    vector: Tensor
    num_bytes: int = 0  # as it travelled

    def __post_init__(self) -> None:
        if not self.num_bytes:
            object.__setattr__(self, "num_bytes", self.vector.nbytes)


class Link(Protocol):
    """One child's edge to its hub. Only ``join``, ``drain``, ``pass_up`` and ``leave`` may block.

    Each raises HubLost once the hub is known to be gone.
    """

    @property
    def desk(self) -> Desk | None:
        """This child's place in the hub's own memory: then it exchanges there, without messages."""
        ...

    @property
    def orphaned(self) -> bool:
        """Whether the hub is gone, and ``join`` leads to a successor that knows no life of ours."""
        ...

    def join(
        self, vector: Tensor, layout: Sequence[Slot], *, ledger_seed: int | None = None
    ) -> tuple[int, Snapshot]:
        """Become a child: the incarnation, and the center as it is now.

        ``ledger_seed``: sum up what is exchanged at the ``desk``, as pushes are.
        """
        ...

    def pull(self, showing: int | None = None) -> None:
        """Begin fetching a snapshot, unless that is under way.

        The newest one; with ``showing`` the first that the hub ``shows`` to a child whose push of
        that sequence has left.
        """
        ...

    def pulled(self) -> Snapshot | None:
        """A snapshot that has arrived since the last call, or None. Never blocks."""
        ...

    def push(self, header: PushHeader, d: Payload) -> None:
        """Begin sending a difference, on the CPU, that nobody writes to any more."""
        ...

    def replies(self) -> list[PushReply]:
        """Answers that have arrived since the last call. Never blocks.

        A GAP also from a hub's successor that knows this life: it wants what no snapshot has shown.
        """
        ...

    @property
    def busy(self) -> bool:
        """Whether a push is under way, its answer not yet collected."""
        ...

    def tell(self) -> None:
        """Let the hub look at what was exchanged at the ``desk``, in the background."""
        ...

    def pass_up(self) -> None:
        """Wait until the center has what the hub has of us; at the center itself it has."""
        ...

    def drain(self, *, pulls: bool = True) -> None:
        """Wait until nothing is under way (or no push), or the hub is known to be gone."""
        ...

    def leave(self) -> None:
        """Say goodbye; the hub shares its rate among those who stay."""
        ...
