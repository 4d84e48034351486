"""A simulated edge: the link that the actors have, with latency and bandwidth for a cable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ray_easgd.hub import Hub
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import PushHeader, PushReply
from ray_easgd.simulator.clock import Action, Clock
from ray_easgd.wire import Payload


@dataclass(frozen=True, kw_only=True, slots=True)
class Cable:
    """What carries an edge. Both directions are used at once; messages of one kind queue."""

    latency_s: float = 0.0
    bytes_per_s: float = float("inf")

    def takes_s(self, num_bytes: int) -> float:
        """From the first byte sent to the last byte there."""
        return self.latency_s + num_bytes / self.bytes_per_s


def _nothing() -> None:
    """Nobody listens yet."""


class SimulatedLink:
    """One child's edge to a hub on the same virtual clock."""

    def __init__(
        self, clock: Clock, hub: Hub, child: str, cable: Cable, on_applied: Action
    ) -> None:
        self._clock, self.hub, self._child, self._cable = clock, hub, child, cable
        self._on_applied = on_applied
        self.desk, self.orphaned = None, False
        self._incarnation = 0
        self._pulling = False
        self._waits_for: int | None = None
        self.on_arrival: Action = _nothing
        self._arrived: Snapshot | None = None
        self._sent = 0
        self._replies: list[PushReply] = []
        self._lives = 0  # of this wire: what was sent in an earlier one never arrives
        self._broken = self.cut = False

    def join(
        self, vector: Tensor, layout: Sequence[Slot], *, ledger_seed: int | None = None
    ) -> tuple[int, Snapshot]:
        """At once: joining is not what a simulation is about."""
        self._incarnation = self.hub.admit(self._child, vector, layout)
        return self._incarnation, self.hub.snapshot()

    def pull(self, showing: int | None = None) -> None:
        if not self._pulling:
            self._pulling = True
            self._after(self._cable.latency_s, lambda: self._ask(showing))

    def pulled(self) -> Snapshot | None:
        arrived, self._arrived = self._arrived, None
        return arrived

    def push(self, header: PushHeader, d: Payload) -> None:
        self._sent += 1
        self._after(self._cable.takes_s(d.nbytes), lambda: self._apply(header, d))

    def replies(self) -> list[PushReply]:
        replies, self._replies = self._replies, []
        self._sent -= len(replies)
        return replies

    @property
    def busy(self) -> bool:
        return self._sent > 0

    def drain(self, *, pulls: bool = True) -> None:
        """Let time pass for everybody until nothing of this link is under way."""
        while (pulls and self._pulling) or self._sent > len(self._replies):
            if not self._clock.advance():
                raise RuntimeError(f"{self._child} waits for what will never happen.")

    def tell(self) -> None:
        """There is no desk."""

    def pass_up(self) -> None:
        """Nobody asks where the data is."""

    def leave(self) -> None:
        self.hub.dismiss(self._incarnation)

    def _after(self, delay_s: float, action: Action) -> None:
        """A wire that takes no time delivers now, and not after what else happens now."""
        if self._broken:
            return
        if delay_s > 0:
            life = self._lives
            self._clock.after(delay_s, lambda: action() if life == self._lives else None)
        else:
            action()

    def break_off(self) -> None:
        """The hub's process is gone: what is under way is lost, and so is what is sent now."""
        self._broken = True
        self._lives += 1

    def attach(self, hub: Hub) -> None:
        """A successor of the hub listens at the other end."""
        self.hub, self._broken = hub, False
        self._pulling, self._waits_for, self._arrived = False, None, None
        self._sent, self._replies = 0, []

    def moved(self) -> None:
        """The hub has moved: perhaps that is what a pull of this link waits for there."""
        if self._waits_for is not None and self.hub.shows(self._incarnation, self._waits_for):
            self._waits_for = None
            self._serve()

    def _ask(self, showing: int | None) -> None:
        if showing is None:
            self._serve()
        else:
            self._waits_for = showing
            self.moved()

    def _serve(self) -> None:
        snapshot = self.hub.snapshot()
        self._after(self._cable.takes_s(snapshot.vector.nbytes), lambda: self._land(snapshot))

    def _land(self, snapshot: Snapshot) -> None:
        self._pulling, self._arrived = False, snapshot
        self.on_arrival()

    def _apply(self, header: PushHeader, d: Payload) -> None:
        if self.cut:
            return  # its sender died with this under way, and the wire with it
        reply = self.hub.apply(header, d)
        self._on_applied()
        self._after(self._cable.latency_s, lambda: self._answer(reply))

    def _answer(self, reply: PushReply) -> None:
        self._replies.append(reply)
        self.on_arrival()
