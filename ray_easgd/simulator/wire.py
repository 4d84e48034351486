"""A simulated edge: the link that the actors have, with latency and bandwidth for a cable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ray_easgd.hub import Hub
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import PushHeader, PushReply
from ray_easgd.simulator.clock import Action, Clock

OnApplied = Callable[[str, PushHeader, PushReply], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cable:
    """What carries an edge. Both directions are used at once; messages of one kind queue."""

    latency_s: float = 0.0
    bytes_per_s: float = float("inf")

    def takes_s(self, num_bytes: int) -> float:
        """From the first byte sent to the last byte there."""
        return self.latency_s + num_bytes / self.bytes_per_s


class SimulatedLink:
    """One child's edge to a hub on the same virtual clock."""

    def __init__(
        self, clock: Clock, hub: Hub, child: str, cable: Cable, on_applied: OnApplied
    ) -> None:
        self._clock, self.hub, self._child, self._cable = clock, hub, child, cable
        self._on_applied = on_applied
        self._incarnation = 0
        self._pulling = False
        self._arrived: Snapshot | None = None
        self._sent = 0
        self._replies: list[PushReply] = []
        self.cut = False

    def join(self, vector: Tensor, layout: Sequence[Slot]) -> tuple[int, Snapshot]:
        """At once: joining is not what a simulation is about."""
        self._incarnation = self.hub.admit(self._child, vector, layout)
        return self._incarnation, self._snapshot()

    def pull(self) -> None:
        if not self._pulling:
            self._pulling = True
            self._after(self._cable.latency_s, self._serve)

    def pulled(self) -> Snapshot | None:
        arrived, self._arrived = self._arrived, None
        return arrived

    def push(self, header: PushHeader, d: Tensor) -> None:
        self._sent += 1
        self._after(self._cable.takes_s(d.nbytes), lambda: self._apply(header, d))

    def replies(self) -> list[PushReply]:
        replies, self._replies = self._replies, []
        self._sent -= len(replies)
        return replies

    @property
    def busy(self) -> bool:
        return self._sent > 0

    def drain(self) -> None:
        """Let time pass for everybody until nothing of this link is under way."""
        while (self._pulling or self._sent > len(self._replies)) and self._clock.advance():
            pass

    def leave(self) -> None:
        self.hub.dismiss(self._incarnation)

    def _after(self, delay_s: float, action: Action) -> None:
        """A wire that takes no time delivers now, and not after what else happens now."""
        if delay_s > 0:
            self._clock.after(delay_s, action)
        else:
            action()

    def _serve(self) -> None:
        snapshot = self._snapshot()
        self._after(self._cable.takes_s(snapshot.vector.nbytes), lambda: self._land(snapshot))

    def _land(self, snapshot: Snapshot) -> None:
        self._pulling, self._arrived = False, snapshot

    def _apply(self, header: PushHeader, d: Tensor) -> None:
        if self.cut:
            return  # its sender died with this under way, and the wire with it
        reply = self.hub.apply(header, d)
        self._on_applied(self._child, header, reply)
        self._after(self._cable.latency_s, lambda: self._replies.append(reply))

    def _snapshot(self) -> Snapshot:
        assert self.hub.vector is not None
        return Snapshot(self.hub.header(), self.hub.vector.clone())
