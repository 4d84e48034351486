"""A hub's port: what all its children share on the way to it. Who comes first is served first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ray_easgd.hub import Hub
from ray_easgd.link import Snapshot
from ray_easgd.protocol import PushHeader
from ray_easgd.simulator.clock import Action, Clock
from ray_easgd.simulator.wire import Cable, SimulatedLink
from ray_easgd.wire import Payload

Leg = Callable[[float], float]
"""A stretch of the way: entered at a moment in seconds, it takes so many seconds."""


@dataclass(slots=True)
class Queue:
    """One server. Whoever comes while it is busy waits for all who came before."""

    free_at_s: float = 0.0
    taken_s: float = 0.0

    def takes_s(self, now_s: float, work_s: float) -> float:
        """From now until that much work, begun after all before it, is done."""
        self.free_at_s = max(now_s, self.free_at_s) + work_s
        self.taken_s += work_s
        return self.free_at_s - now_s

    def done_s(self, now_s: float) -> float:
        """The work done up to now."""
        return self.taken_s - max(0.0, self.free_at_s - now_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """What an exchange over a hub's edges costs.

    ``vector_bytes`` pass the hub's line in each direction, ``bytes_per_s`` wide each way (None
    where nothing travels: shared memory), and the exchange keeps the hub itself busy for
    ``hub_s``, half of it with the pull and half with the push. ``latency_s`` is one way.
    """

    hub_s: float
    vector_bytes: float = 0.0
    bytes_per_s: float | None = None
    latency_s: float = 0.0

    @property
    def line_s(self) -> float:
        """How long one vector keeps one direction of the line busy."""
        return self.vector_bytes / self.bytes_per_s if self.bytes_per_s else 0.0

    @property
    def exchange_s(self) -> float:
        """The shortest time between two exchanges at one hub: what its scarcest part needs."""
        return max(self.line_s, self.hub_s)


@dataclass(kw_only=True, slots=True)
class Port:
    """A line down, a line up and a processor, each with a queue of its own."""

    edge: Edge
    down: Queue = field(default_factory=Queue)
    up: Queue = field(default_factory=Queue)
    processor: Queue = field(default_factory=Queue)

    def passed_bytes(self, now_s: float) -> float:
        """Of vectors, in both directions, over the line up to now."""
        seconds = self.down.done_s(now_s) + self.up.done_s(now_s)
        return seconds * (self.edge.bytes_per_s or 0.0)

    def travels(self, now_s: float) -> float:
        """A message without a vector."""
        return self.edge.latency_s

    def works(self, now_s: float) -> float:
        """The hub's half of an exchange."""
        return self.processor.takes_s(now_s, self.edge.hub_s / 2)

    def goes_down(self, now_s: float) -> float:
        """A vector to a child."""
        return self.edge.latency_s + self.down.takes_s(now_s, self.edge.line_s)

    def goes_up(self, now_s: float) -> float:
        """A vector from a child."""
        return self.edge.latency_s + self.up.takes_s(now_s, self.edge.line_s)


class PortLink(SimulatedLink):
    """One child's edge to a hub whose port it shares with all others.

    A snapshot is taken when the hub comes to the pull, and ages on the line. It shows this child
    no other child's pushes: a table of thousands in each of thousands would fill the memory.
    """

    def __init__(self, clock: Clock, hub: Hub, child: str, port: Port, on_applied: Action) -> None:
        super().__init__(clock, hub, child, Cable(latency_s=port.edge.latency_s), on_applied)
        self._port = port

    def pull(self, showing: int | None = None) -> None:
        if not self._pulling:
            self._pulling = True
            self._travel((self._port.travels, self._port.works), lambda: self._ask(showing))

    def push(self, header: PushHeader, d: Payload) -> None:
        self._sent += 1
        self._travel((self._port.goes_up, self._port.works), lambda: self._apply(header, d))

    def _serve(self) -> None:
        snapshot = self._own(self.hub.snapshot())
        self._travel((self._port.goes_down,), lambda: self._land(snapshot))

    def _own(self, snapshot: Snapshot) -> Snapshot:
        shown = {self._incarnation: snapshot.header.applied[self._incarnation]}
        return Snapshot(replace(snapshot.header, applied=shown), snapshot.vector)

    def _travel(self, legs: tuple[Leg, ...], action: Action) -> None:
        if not legs:
            action()
            return
        delay_s = legs[0](self._clock.now_s)
        self._after(delay_s, lambda: self._travel(legs[1:], action))
