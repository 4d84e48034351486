"""How a worker's tie behaves, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ray_easgd.algorithms.contract import Algorithm, Order
from ray_easgd.protocol import WireFormat

if TYPE_CHECKING:
    from ray_easgd.shared.desk import Meeting


@dataclass(frozen=True, kw_only=True, slots=True)
class ElasticOptions:
    """How a worker exchanges. ``period`` counts its gradient steps.

    ``period_down``: of one-way messages from its hub; None is ``period``.

    ``lead``: how many steps before an exchange its pull begins; None follows how long pulls have
    lately taken, 0 pulls at the boundary itself, as on paper. ``phase``: exchanges are due where
    ``clock - phase`` is a multiple of the period. ``wire_format``: of the differences sent.
    """

    algorithm: Algorithm
    period: int
    period_down: int | None = None
    order: Order = "between_steps"
    lead: int | None = None
    phase: int = 0
    wire_format: WireFormat = "float32"
    ledger_seed: int | None = None

    def due_after(self, clock: int) -> int:
        """The next boundary after ``clock`` at which an exchange is due."""
        rounds = (clock - self.phase) // self.period + 1
        return rounds * self.period + self.phase

    def hears_after(self, clock: int) -> int:
        """The next boundary after ``clock`` at which a one-way message of the hub is due."""
        period = self.period_down or self.period
        return (clock // period + 1) * period


@dataclass(slots=True)
class ElasticCounts:
    """What one worker's tie has done so far. Bytes are those of vectors, as they travel."""

    exchanges: int = 0
    exchanges_late: int = 0
    restarts: int = 0
    moves: int = 0  # of the vector, by anything but gradient steps
    left_out: int = 0  # elements that an exchange in shared memory left to the next one
    bytes_sent: int = 0
    bytes_received: int = 0
    in_place_s: float = 0.0  # taken by exchanges in shared memory

    def met_in_place(self, num_bytes: int, meeting: Meeting) -> None:
        """One exchange in shared memory of a vector so large."""
        self.exchanges += 1
        self.left_out += meeting.num_left_out
        self.in_place_s += meeting.took_s
        self.bytes_sent += num_bytes
        self.bytes_received += num_bytes
