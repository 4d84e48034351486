"""The snapshots that a tie receives: asked for in time, held while it computes with them."""

from __future__ import annotations

from torch import Tensor

from ray_easgd.link import Link, Snapshot
from ray_easgd.staging import Staging


class Intake:
    """At most one pull is under way, and at most one snapshot waits to be taken in.

    ``lead``: how many steps before an exchange its pull begins; None follows how long pulls have
    lately taken, up to ``most``.
    """

    def __init__(self, link: Link, staging: Staging, lead: int | None, most: int) -> None:
        self._link, self._staging = link, staging
        self._follows, self._most = lead is None, most
        self.lead = 1 if lead is None else lead
        self.asked_at: int | None = None
        self.fresh: Snapshot | None = None
        self.newest: Snapshot
        self.held: Snapshot
        self.center: Tensor  # of the snapshot held, where x is
        self.taken_at = 0
        self._coming: Tensor

    def begin(self, snapshot: Snapshot, clock: int) -> None:
        """A new life, with what it was given when it joined."""
        self.held = self.newest = snapshot
        self.center = snapshot.vector
        if self._link.desk is None:
            self.center = self._staging.ready(self._staging.bring(snapshot.vector))
        self.drop()
        self.taken_at = clock

    def drop(self) -> None:
        """Nothing is under way any more, and nothing waits."""
        self.fresh, self.asked_at = None, None

    @property
    def idle(self) -> bool:
        """Nothing is asked for, and nothing waits to be taken in."""
        return self.fresh is None and self.asked_at is None

    def ask(self, clock: int, showing: int | None = None) -> None:
        """Begin a pull, where there is a use for it."""
        if self.idle:
            self.asked_at = clock
            self._link.pull(showing)

    def arrived(self, clock: int) -> Snapshot | None:
        """A snapshot that came since the last call."""
        snapshot = self._link.pulled()
        if snapshot is not None:
            self.newest = snapshot
            if self.asked_at is not None and self._follows:
                self.lead = min(self._most, max(1, clock - self.asked_at))
            self.asked_at = None
        return snapshot

    def keep(self, snapshot: Snapshot) -> None:
        """It waits to be taken in; a device begins to fetch it."""
        self.fresh, self._coming = snapshot, self._staging.bring(snapshot.vector)

    def take_in(self, clock: int) -> None:
        """The snapshot that waits is the one to compute with from now on."""
        assert self.fresh is not None
        self.held, self.fresh, self.taken_at = self.fresh, None, clock
        self.center = self._staging.ready(self._coming)
