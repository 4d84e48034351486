"""A fleet that does nothing but exchange: thousands of workers, and nobody computes a gradient.

The ties, hubs and aggregators are those of every run, on a vector of one element; their ports bill
the size that a study pretends. Steps at which a tie has nothing to do are counted, not taken, so a
minute of 4096 workers takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ray_easgd.algorithms import METHODS, Algorithm
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.simulator.fleet import Simulation
from ray_easgd.simulator.parts import Level, Node, SimulatedWorker
from ray_easgd.simulator.port import Edge, Port, PortLink
from ray_easgd.simulator.problems import Problem, Quadratic
from ray_easgd.trace import Pushed

_SPREAD = 0.02  # of the workers' speeds: nobody stays in step with anybody


@dataclass(frozen=True, kw_only=True)
class Tier:
    """One level of a fleet: each hub's children, their period, and what an exchange costs."""

    fan_out: int
    period: int
    edge: Edge


@dataclass
class Seat:
    """When a worker's boundaries come. Its clock is 0 at the start of the run."""

    step_s: float
    wakes_at: int = 0
    ticket: int = 0


@dataclass
class Tally:
    """What the hubs of one level have taken in: pushes, and the sum of their staleness."""

    pushes: int = 0
    staleness: int = 0


@dataclass
class ExchangeFleet(Simulation):
    """``tiers``, root first, with a port at every hub. Phases are spread evenly over a period."""

    problem: Problem = field(default_factory=Quadratic)
    algorithm: Algorithm = field(default_factory=lambda: METHODS["easgd"])
    num_workers: int = 0
    lr: float = 0.0
    tiers: Sequence[Tier] = ()
    step_s: float = 0.1

    def __post_init__(self) -> None:
        self.levels = [Level(fan_out=t.fan_out, period=t.period) for t in self.tiers]
        self.num_workers = int(np.prod([t.fan_out for t in self.tiers]))
        self.ports: dict[str, Port] = {}
        self.tallies = [Tally() for _ in self.tiers]
        self._seats: dict[str, Seat] = {}
        self._phases = np.random.default_rng(self.seed)
        super().__post_init__()

    def passed_bytes(self) -> list[float]:
        """Over the line of each hub that has one up to now; the center first."""
        ports = [self.ports[node.name] for level in self.nodes for node in level]
        return [port.passed_bytes(self.clock.now_s) for port in ports]

    def steps_done(self) -> float:
        """Gradient steps of all workers up to now."""
        return sum(self.clock.now_s / seat.step_s for seat in self._seats.values())

    def _wire(self, node: Node, child: str) -> PortLink:
        port = self.ports.setdefault(node.name, Port(edge=self.tiers[_depth(node)].edge))
        link = PortLink(self.clock, node.hub, child, port, lambda: self._note(node))
        node.links.append(link)
        return link

    def _tie_options(self, level: Level) -> ElasticOptions:
        phase = int(self._phases.integers(level.period))
        return replace(super()._tie_options(level), phase=phase, ledger_seed=None)

    def _schedule(self, worker: SimulatedWorker) -> None:
        """At the next boundary at which there is something to do; late, only for an arrival."""
        boundary = worker.elastic.looks_at
        if boundary > worker.elastic.clock:
            self._wake_at(worker, boundary)

    def _resume(self, worker: SimulatedWorker) -> None:
        """Something arrived: it is seen at the first boundary after."""
        seat = self._seat(worker)
        boundary = int(self.clock.now_s / seat.step_s) + 1
        if not worker.elastic.clock < seat.wakes_at <= boundary:
            self._wake_at(worker, boundary)

    def _wake_at(self, worker: SimulatedWorker, boundary: int) -> None:
        seat = self._seat(worker)
        seat.wakes_at, seat.ticket = boundary, seat.ticket + 1
        ticket, delay_s = seat.ticket, boundary * seat.step_s - self.clock.now_s
        self.clock.after(max(0.0, delay_s), lambda: self._reach(worker, ticket))

    def _reach(self, worker: SimulatedWorker, ticket: int) -> None:
        seat = self._seat(worker)
        if ticket == seat.ticket:
            worker.elastic.clock = seat.wakes_at - 1
            worker.elastic.step()
            self._schedule(worker)

    def _seat(self, worker: SimulatedWorker) -> Seat:
        seat = self._seats.get(worker.name)
        if seat is None:
            speed = float(np.exp(_SPREAD * worker.random.standard_normal()))
            seat = self._seats[worker.name] = Seat(self.step_s * speed)
        return seat

    def _note(self, node: Node) -> None:
        tally = self.tallies[_depth(node)]
        for record in node.hub.take_trace():
            if isinstance(record, Pushed):
                tally.pushes += 1
                tally.staleness += record.staleness


def _depth(node: Node) -> int:
    return 0 if node.parent is None else 1 + _depth(node.parent)
