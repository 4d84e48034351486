"""A child's memory of what it sent: numbers its pushes and keeps those not yet shown applied.

A pure machine, the other half of ``hub.py``. A push is kept until a *snapshot* shows it, not
until the hub acknowledges it: a hub that dies after its acknowledgement may come back from a
snapshot that lacks it, and then the child replays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ray_easgd.protocol import PushHeader, SnapshotHeader
from ray_easgd.wire import Payload, decoded

WINDOW = 2
"""Pushes kept at most. With so many outstanding a child skips the exchange and keeps stepping."""


@dataclass(slots=True)
class Child:
    """One life of a child: its incarnation, its next sequence, its outstanding pushes."""

    incarnation: int
    sequence: int = 0
    retained: deque[tuple[PushHeader, Payload]] = field(default_factory=deque)
    _missed_before: tuple[int, int] = (0, 0)  # which push, and how often it was said

    @property
    def may_push(self) -> bool:
        """Whether the window has room."""
        return len(self.retained) < WINDOW

    def retain(self, header: PushHeader, d: Payload) -> None:
        """Keep a push that is about to leave. Its sequence must be the next one."""
        assert header.sequence == self.sequence + 1
        assert self.may_push
        self.sequence = header.sequence
        self.retained.append((header, d))

    def shown(self, snapshot: SnapshotHeader) -> None:
        """A snapshot arrived: what it contains need not be kept."""
        last = snapshot.applied.get(self.incarnation, 0)
        while self.retained and self.retained[0][0].sequence <= last:
            self.retained.popleft()

    def can_fill(self, sequence: int) -> bool:
        """The hub lacks what came before push ``sequence`` (0: of none): whether that is kept here.

        It is not where a snapshot had shown it and the hub's successor goes on from an older one.
        Some such words may have been under way while pushes went again: they mean nothing.
        """
        if not self.retained or self.retained[0][0].sequence != sequence:
            return True
        before, times = self._missed_before
        self._missed_before = sequence, times + 1 if before == sequence else 1
        return self._missed_before[1] <= 2 * WINDOW

    def send_again(self, push: Callable[[PushHeader, Payload], None]) -> bool:
        """All that no snapshot has shown, oldest first; whether there was anything."""
        for header, d in list(self.retained):
            push(header, d)
        return bool(self.retained)

    def unseen(self, device: torch.device | str = "cpu") -> list[Tensor]:
        """The pushes no snapshot has shown yet, oldest first."""
        return [decoded(d).to(device) for _, d in self.retained]

    def take_back(self, sequence: int) -> list[tuple[PushHeader, Payload]]:
        """The hub will not have push ``sequence``: it and all after it never were. Newest first."""
        taken = []
        while self.retained and self.retained[-1][0].sequence >= sequence:
            taken.append(self.retained.pop())
            self.sequence = taken[-1][0].sequence - 1
        return taken

    def write_off(self) -> float:
        """Give up on the outstanding pushes; returns the Euclidean norm of what is lost."""
        lost = sum(float(d.norm()) ** 2 for d in self.unseen())
        self.retained.clear()
        return float(lost**0.5)
