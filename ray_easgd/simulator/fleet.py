"""A virtual fleet: the very objects that the actors run, on a clock that only we wind.

    simulation = Simulation(Quadratic(), METHODS["easgd"], num_workers=4, period=10, lr=0.1)
    simulation.run(exchanges=1000)
    simulation.center

Every worker holds an ``Elastic`` and every hub a ``Hub``, unchanged; what is simulated is when
things happen, how long wires take, and what breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ray_easgd.algorithms import Algorithm, Nesterov
from ray_easgd.elastic import Elastic, ElasticOptions, Order
from ray_easgd.hub import Hub, options_for
from ray_easgd.parameters import ParameterVector, Slot
from ray_easgd.protocol import Outcome, PushHeader, PushReply
from ray_easgd.simulator.clock import Clock
from ray_easgd.simulator.problems import Problem
from ray_easgd.simulator.wire import Cable, SimulatedLink


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a worker steps: ``step_s`` seconds, times ``exp(jitter * normal)``.

    ``random_order`` makes the waits exponential instead: then whose turn is next is uniform
    among equals, the asynchrony of the thesis.
    """

    step_s: float = 1.0
    jitter: float = 0.0
    random_order: bool = False

    def next_s(self, random: np.random.Generator) -> float:
        """Seconds until the next step is done."""
        if self.random_order:
            return float(random.exponential(self.step_s))
        return self.step_s * float(np.exp(self.jitter * random.standard_normal()))


@dataclass
class SimulatedWorker:
    """One worker. Dead or stopped it takes no step, and nobody else notices."""

    name: str
    elastic: Elastic
    link: SimulatedLink
    step: Nesterov
    noise: torch.Generator
    random: np.random.Generator
    pace: Pace
    alive: bool = True
    stopped: bool = False
    missed_turn: bool = False

    @property
    def x(self) -> Tensor:
        """Its vector, shape (n,)."""
        return self.elastic.vector.flat


@dataclass
class _Quiet:
    """A reporter that nobody reads."""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None: ...

    def event(self, kind: str, message: str, **details: object) -> None: ...

    def report(self, values: Mapping[str, float], *, step: int) -> None: ...

    def stepped(self) -> None: ...


@dataclass
class Simulation:
    """One virtual run of an algorithm on a problem: a flat center and its workers.

    ``fixed_rate`` is the moving rate alpha, by default the hub's own rule with ``beta``.
    ``trace`` holds one tuple per applied push: time, worker, sequence, version before, staleness.
    """

    problem: Problem
    algorithm: Algorithm
    num_workers: int
    lr: float
    period: int | None = None
    momentum: float | None = None
    beta: float = 0.9
    fixed_rate: float | None = None
    order: Order = "between_steps"
    lead: int | None = None
    pace: Pace = field(default_factory=Pace)
    cable: Cable = field(default_factory=Cable)
    seed: int = 0
    trace: list[tuple[float, str, int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock, self._num_born = Clock(), 0
        self.hub = Hub(
            options_for(
                self.algorithm,
                beta=self.beta,
                fixed_rate=self.fixed_rate,
                ledger_seed=self.seed,
            )
        )
        self.workers = [self.join() for _ in range(self.num_workers)]

    @property
    def center(self) -> Tensor:
        """The center's vector, shape (n,)."""
        assert self.hub.vector is not None
        return self.hub.vector

    def join(self, start: Tensor | None = None) -> SimulatedWorker:
        """A new worker, now. It takes over the center."""
        index = self._num_born
        self._num_born += 1
        name = f"worker-{index}"
        x = self.problem.start() if start is None else start
        link = SimulatedLink(self.clock, self.hub, name, self.cable, self._applied)
        options = ElasticOptions(
            algorithm=self.algorithm,
            period=self.period or self.algorithm.period,
            order=self.order,
            lead=self.lead,
            ledger_seed=self.seed,
        )
        vector = ParameterVector(x, (Slot("x", tuple(x.shape), 0, x.numel()),))
        elastic = Elastic(vector, link, options, _Quiet(), name=name)
        momentum = self.algorithm.momentum if self.momentum is None else self.momentum
        seeds = np.random.SeedSequence([self.seed, index])
        worker = SimulatedWorker(
            name=name,
            elastic=elastic,
            link=link,
            step=Nesterov([x], lr=self.lr, momentum=momentum),
            noise=torch.Generator().manual_seed(int(seeds.generate_state(1)[0])),
            random=np.random.default_rng(seeds),
            pace=self.pace,
        )
        self._schedule(worker)
        return worker

    def crash(self, worker: SimulatedWorker) -> None:
        """The worker is gone, and what it had on the wire with it."""
        worker.alive, worker.link.cut = False, True
        self.hub.dismiss(worker.elastic.incarnation)

    def stop(self, worker: SimulatedWorker, seconds: float) -> None:
        """The worker's process is stopped for a while; what is on the wire arrives."""
        worker.stopped = True
        self.clock.after(seconds, lambda: self._go_on(worker))

    def run(self, *, exchanges: int | None = None, seconds: float | None = None) -> None:
        """Let time pass until the center has taken so many more pushes, or for so long."""
        last_count = float("inf") if exchanges is None else self.hub.version.count + exchanges
        last_s = float("inf") if seconds is None else self.clock.now_s + seconds
        while self.hub.version.count < last_count and self.clock.next_s <= last_s:
            if not self.clock.advance():
                return
        if seconds is not None and self.clock.next_s > last_s:
            self.clock.now_s = last_s

    def watch(self, every_s: float, look: Callable[[], Any]) -> list[Any]:
        """Collect what ``look`` sees every so often, from now on, while the simulation runs."""
        seen: list[Any] = []

        def again() -> None:
            seen.append(look())
            self.clock.after(every_s, again)

        self.clock.after(every_s, again)
        return seen

    def _schedule(self, worker: SimulatedWorker) -> None:
        self.clock.after(worker.pace.next_s(worker.random), lambda: self._step(worker))

    def _go_on(self, worker: SimulatedWorker) -> None:
        worker.stopped = False
        if worker.missed_turn:
            worker.missed_turn = False
            self._schedule(worker)

    @torch.no_grad()
    def _step(self, worker: SimulatedWorker) -> None:
        worker.missed_turn = worker.stopped
        if worker.stopped or not worker.alive:
            return
        worker.step.prepare()
        worker.x.grad = self.problem.gradient(worker.x, worker.noise)
        worker.step.step()
        worker.elastic.step()
        self._schedule(worker)

    def _applied(self, child: str, header: PushHeader, reply: PushReply) -> None:
        if reply.outcome is Outcome.APPLIED:
            version = reply.version.count - 1
            self.trace.append((self.clock.now_s, child, header.sequence, version, reply.staleness))
