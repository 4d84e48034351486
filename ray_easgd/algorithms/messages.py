"""EASGD Tree by one-way messages (thesis, 6.1; docs/mathematics.md, 2.10).

Neighbors of a tree send each other copies of their vectors. Nobody replies and nobody waits: of
each neighbor only the newest message counts. Only leaves take gradients; the root is the center.

Symbols: ``x`` a node's vector, ``m`` a message, a neighbor's vector; float tensors of shape (n,).
A trailing underscore means in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Periods:
    """Ticks between two messages, for each level of edges, from the root's edges down.

    ``up`` is the period of the lower end of an edge, ``down`` that of its upper end.
    """

    up: tuple[int, ...]
    down: tuple[int, ...]


def multi_scale(*periods: int) -> Periods:
    """One period per level of edges, the same in both directions: ``multi_scale(100, 10)``."""
    return Periods(up=periods, down=periods)


def up_and_down(up: int, down: int, *, levels: int = 2) -> Periods:
    """Every node sends upward at one period, downward at another: the center follows the leaves
    quickly while the leaves explore."""
    return Periods(up=(up,) * levels, down=(down,) * levels)


class Message(NamedTuple):
    """A copy of the sender's vector, shape (n,), on its way. Nobody changes it any more."""

    receiver: str
    x: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageOptions:
    """``moving_rate`` is alpha, from 0 to 1: 0.9 / (fan-out + 1) in the thesis.

    ``periods`` are the node's own ticks between two messages to each of its neighbors, by name.
    """

    moving_rate: float
    periods: Mapping[str, int]


@dataclass(slots=True)
class MessageNode:
    """One node: ``x <- x + alpha (m - x)`` for the newest ``m`` of each neighbor.

    A turn is ``absorb_()``, in a leaf one local step, then ``tick()``. The clock counts turns: in
    a leaf gradient steps, in inner nodes and the root ticks of their own. (To count messages
    handled instead would let a neighbor's silence slow a node down.)

    Invariant: for ``0 <= alpha <= 1``, ``absorb_`` leaves x in the convex hull of itself and what
    was heard. Nothing is conserved: both ends of an edge move by copies, not by one difference.
    """

    x: Tensor
    options: MessageOptions
    clock: int = 0
    heard: dict[str, Tensor] = field(default_factory=dict)

    def arrive(self, sender: str, m: Tensor) -> None:
        """Keep a neighbor's message until the next turn; a newer one takes its place."""
        self.heard[sender] = m

    def absorb_(self) -> None:
        """Move toward what was heard since the last turn, one by one, first heard first."""
        for m in self.heard.values():
            self.x.lerp_(m, self.options.moving_rate)
        self.heard.clear()

    def tick(self) -> list[Message]:
        """Count the turn. What to send now, all of it the same copy."""
        self.clock += 1
        due = [v for v, period in self.options.periods.items() if self.clock % period == 0]
        if not due:
            return []
        copy = self.x.clone()
        return [Message(v, copy) for v in due]
