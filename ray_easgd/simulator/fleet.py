"""A virtual fleet: the very objects that the actors run, on a clock that only we wind.

    simulation = Simulation(Quadratic(), METHODS["easgd"], num_workers=4, period=10, lr=0.1)
    simulation.run(exchanges=1000)
    simulation.center

Every worker holds an ``Elastic`` and every hub a ``Hub`` or an ``Aggregator``, unchanged; what is
simulated is when things happen, how long wires take, and what breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ray_easgd.aggregator import Aggregator
from ray_easgd.algorithms import Algorithm, LocalStep, Nesterov
from ray_easgd.algorithms.contract import Average, Order
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.hub import Hub, HubOptions, options_for
from ray_easgd.moving_rate import refuse_drift, refuse_runaway
from ray_easgd.one_way import kind_of_tie
from ray_easgd.parameters import ParameterVector, Slot
from ray_easgd.schedules import Constant, Schedule
from ray_easgd.simulator.clock import Clock
from ray_easgd.simulator.parts import Level, Node, Pace, SimulatedWorker, Story
from ray_easgd.simulator.problems import Problem
from ray_easgd.simulator.wire import Cable, SimulatedLink
from ray_easgd.trace import Joined, Pushed, Record


@dataclass
class Simulation:
    """One virtual run of an algorithm on a problem: a center, its workers, and hubs in between.

    ``levels``, root first, make a tree of ``num_workers`` leaves; without them the center is flat
    and ``period`` is the workers'. ``fixed_rate`` is the moving rate alpha, by default each hub's
    own rule with ``beta``. ``paces`` gives workers speeds of their own, in turn; ``make_step``
    the local step on a list of tensors, by default the thesis's own with ``lr`` and ``momentum``.
    ``records`` holds what shaped each hub: time, hub, record.
    """

    problem: Problem
    algorithm: Algorithm
    num_workers: int
    lr: float
    period: int | None = None
    momentum: float | None = None
    beta: float | None = None
    fixed_rate: float | None = None
    order: Order | None = None
    lead: int | None = None
    levels: Sequence[Level] = ()
    pace: Pace = field(default_factory=Pace)
    paces: Sequence[Pace] = ()
    cable: Cable = field(default_factory=Cable)
    make_step: Callable[[list[Tensor]], LocalStep] | None = None
    schedule: Schedule = field(default_factory=Constant)
    average: Average | None = None
    average_rate: float = 0.001
    staleness_power: float = 0.0
    max_staleness: int | None = None
    seed: int = 0
    records: list[tuple[float, str, Record]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock, self.story, self._num_born = Clock(), Story(), 0
        self.num_exchanges = self.num_steps = 0
        self.hub_is_down = False
        if self.momentum is not None and self.algorithm.momentum:
            self.algorithm = self.algorithm.having(momentum=self.momentum)
        self._refuse_drift()
        flat = Level(fan_out=self.num_workers, period=self.period or self.algorithm.period)
        self._levels = tuple(self.levels) or (flat,)
        self.nodes = [[self._root()]]
        for level in self._levels[1:]:
            parents = [p for p in self.nodes[-1] for _ in range(p.level.fan_out)]
            depth = len(self.nodes)
            self.nodes.append(
                [self._inner(f"hub-{depth}-{k}", p, level) for k, p in enumerate(parents)]
            )
        self.workers: list[SimulatedWorker] = []
        for _ in range(self.num_workers):
            self.join()

    @property
    def hub(self) -> Hub:
        """The center's machine."""
        return self.nodes[0][0].hub

    @property
    def center(self) -> Tensor:
        """The center's vector, shape (n,)."""
        assert self.hub.vector is not None
        return self.hub.vector

    @property
    def hubs(self) -> list[list[Hub]]:
        """All hubs, level by level from the root."""
        return [[node.hub for node in level] for level in self.nodes]

    @property
    def trace(self) -> list[tuple[float, str, int, int, int]]:
        """One tuple per push applied: time, child, sequence, version before, staleness."""
        names: dict[tuple[str, int], str] = {}
        pushes = []
        for time_s, hub, record in self.records:
            if isinstance(record, Joined):
                names[hub, record.incarnation] = record.child
            elif isinstance(record, Pushed):
                header, before = record.header, record.version.count - 1
                child = names[hub, header.incarnation]
                pushes.append((time_s, child, header.sequence, before, record.staleness))
        return pushes

    def join(self, start: Tensor | None = None) -> SimulatedWorker:
        """A new worker, now, at the hub with the fewest children. It takes over the center."""
        if self.hub_is_down:
            raise RuntimeError("nobody can join while the center is down")
        index = self._num_born
        self._num_born += 1
        name = f"worker-{index}"
        x = self.problem.start() if start is None else start
        node = min(self.nodes[-1], key=lambda node: len(node.hub.children))
        link = self._wire(node, name)
        vector = ParameterVector(x, (Slot("x", tuple(x.shape), 0, x.numel()),))
        options = self._tie_options(node.level)
        elastic = kind_of_tie(self.algorithm)(vector, link, options, self.story, name=name)
        self._note_up(node)
        seeds = np.random.SeedSequence([self.seed, index])
        worker = SimulatedWorker(
            name=name,
            elastic=elastic,
            link=link,
            step=self._local_step(x),
            noise=torch.Generator().manual_seed(int(seeds.generate_state(1)[0])),
            random=np.random.default_rng(seeds),
            pace=self.paces[index % len(self.paces)] if self.paces else self.pace,
        )
        link.on_arrival = lambda: self._resume(worker)
        self.workers.append(worker)
        self._go_on_unless_waiting(worker)
        return worker

    def crash(self, worker: SimulatedWorker) -> None:
        """The worker is gone, and what it had on the wire with it."""
        worker.alive, worker.link.cut = False, True
        worker.link.hub.dismiss(worker.elastic.incarnation, lost=True)
        self._note_up(self._node_of(worker))

    def leave(self, worker: SimulatedWorker) -> None:
        """The worker ends: one last exchange, and goodbye. Time passes until that is there.

        One that is stopped does so once it goes on.
        """
        if worker.stopped:
            self.clock.after(1.0, lambda: self.leave(worker))
        elif worker.alive and not worker.leaving:
            worker.leaving = True
            worker.elastic.finish()
            worker.alive = False
            self._note_up(self._node_of(worker))

    def stop(self, worker: SimulatedWorker, seconds: float) -> None:
        """The worker's process is stopped for a while; what is on the wire arrives."""
        worker.stopped = True
        self.clock.after(seconds, lambda: self._go_on(worker))

    def lose_hub(self, seconds: float) -> None:
        """The center's process dies, with what is on its wires; a successor comes in a while."""
        self.hub_is_down = True
        for link in self.nodes[0][0].links:
            link.break_off()
        self.clock.after(seconds, self._recover_hub)

    def run(
        self,
        *,
        exchanges: float | None = None,
        seconds: float | None = None,
        steps: float | None = None,
    ) -> None:
        """Let time pass until so many more pushes were taken, or steps; or for so long."""
        last_count = float("inf") if exchanges is None else self.num_exchanges + exchanges
        last_step = float("inf") if steps is None else self.num_steps + steps
        last_s = float("inf") if seconds is None else self.clock.now_s + seconds
        while (
            self.num_exchanges < last_count
            and self.num_steps < last_step
            and self.clock.next_s <= last_s
        ):
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

    # -- building ----------------------------------------------------------------------------

    def _root(self) -> Node:
        return Node("center", Hub(self._hub_options(0)), self._levels[0])

    def _inner(self, name: str, parent: Node, level: Level) -> Node:
        link = self._wire(parent, name)
        options = self._hub_options(len(self.nodes))
        tie_options = self._tie_options(parent.level)
        aggregator = Aggregator(name, options, link, tie_options, self.story)
        node = Node(name, aggregator, level, parent)
        link.on_arrival = lambda: self._resume_hub(node)
        return node

    def _wire(self, node: Node, child: str) -> SimulatedLink:
        cable = node.level.cable or self.cable
        link = SimulatedLink(self.clock, node.hub, child, cable, lambda: self._note(node))
        node.links.append(link)
        return link

    def _hub_options(self, depth: int) -> HubOptions:
        rate = self._levels[depth].moving_rate
        return options_for(
            self.algorithm,
            beta=self.beta,
            fixed_rate=self.fixed_rate if rate is None else rate,
            has_parent=depth > 0,
            ledger_seed=None if depth else self.seed,  # an inner hub is moved by its parent too
            average="none" if depth else self.average,
            average_rate=self.average_rate,
            staleness_power=self.staleness_power,
            max_staleness=self.max_staleness,
            traced=True,
        )

    def _tie_options(self, level: Level) -> ElasticOptions:
        return ElasticOptions(
            algorithm=self.algorithm,
            period=level.period,
            period_down=level.period_down,
            order=self.order or self.algorithm.order,
            lead=self.lead,
            ledger_seed=self.seed,
        )

    def _local_step(self, x: Tensor) -> LocalStep:
        if self.make_step is not None:
            return self.make_step([x])
        momentum = self.algorithm.momentum or self.momentum or 0.0
        if self.algorithm.local_step == "sgd" and self.algorithm.momentum:
            momentum = 0.0  # it is the center's
        return Nesterov([x], lr=self.lr, momentum=momentum)

    def _refuse_drift(self) -> None:
        curvature = getattr(self.problem, "curvature", None)
        if self.fixed_rate is None or not curvature or not self.algorithm.exchange.elastic:
            return
        period = self.levels[-1].period if self.levels else self.period or self.algorithm.period
        refuse_drift(
            self.fixed_rate,
            eta_h=self.lr * curvature,
            period=period,
            num_workers=self.num_workers,
            between_steps=(self.order or self.algorithm.order) == "between_steps",
        )
        if self.algorithm.conserves == "sum":
            refuse_runaway(self.fixed_rate)

    # -- losing the center ---------------------------------------------------------------------

    def _recover_hub(self) -> None:
        """A new epoch, from the newest snapshot that an answering child holds."""
        root, lost = self.nodes[0][0], self.hub
        ties = {tie.incarnation: tie for tie in self._ties_to_root()}
        if not ties:
            self.clock.after(1.0, self._recover_hub)
            return
        self.hub_is_down = False
        newest = max((tie.intake.newest for tie in ties.values()), key=lambda s: s.header.version)
        children = {life: name for life, name in lost.children.items() if life in ties}
        root.hub = Hub.recovered(
            lost.options,
            newest,
            lost.layout,
            children,
            epoch=lost.version.epoch + 1,
            born=lost.born,
        )
        for link in root.links:
            link.attach(root.hub)
        for tie in ties.values():
            tie.reattach()

    def _ties_to_root(self) -> Iterator[Elastic]:
        """Of the center's children that answer."""
        if len(self.nodes) > 1:
            ties = (n.hub.tie for n in self.nodes[1] if isinstance(n.hub, Aggregator))
            yield from (tie for tie in ties if tie is not None)
        else:
            yield from (w.elastic for w in self.workers if w.alive and not w.stopped)

    # -- happening ---------------------------------------------------------------------------

    def _schedule(self, worker: SimulatedWorker) -> None:
        self.clock.after(worker.pace.next_s(worker.random), lambda: self._step(worker))

    def _go_on(self, worker: SimulatedWorker) -> None:
        worker.stopped = False
        if worker.alive:
            self._resume(worker)
        if worker.elastic.incarnation not in self._node_of(worker).hub.children:
            worker.elastic.reattach()  # taken for dead meanwhile: it will be told, and join anew
        if worker.missed_turn:
            worker.missed_turn = False
            self._schedule(worker)

    @torch.no_grad()
    def _step(self, worker: SimulatedWorker) -> None:
        worker.missed_turn = worker.stopped
        if worker.stopped or worker.leaving or not worker.alive:
            return
        self.num_steps += 1
        worker.step.set_lr(self.schedule(worker.elastic.clock))
        worker.step.prepare()
        worker.x.grad = self.problem.gradient(worker.x, worker.noise)
        worker.step.step()
        worker.elastic.step()
        self._go_on_unless_waiting(worker)

    def _go_on_unless_waiting(self, worker: SimulatedWorker) -> None:
        worker.blocked = worker.elastic.waiting
        if not worker.blocked:
            self._schedule(worker)

    def _resume(self, worker: SimulatedWorker) -> None:
        """Something arrived for a worker: in a round, perhaps what it waits for."""
        if worker.blocked and worker.alive and not worker.stopped and not worker.leaving:
            worker.blocked = False  # what lands while it proceeds must not wake it twice
            worker.elastic.proceed()
            self._go_on_unless_waiting(worker)

    def _resume_hub(self, node: Node) -> None:
        if isinstance(node.hub, Aggregator) and node.hub.waiting:
            node.hub.proceed()
            self._wake(node)

    def _note(self, node: Node) -> None:
        """Book what a hub has done, and wake those who waited for it."""
        for record in node.hub.take_trace():
            self.records.append((self.clock.now_s, node.name, record))
            self.num_exchanges += isinstance(record, Pushed)
        self._wake(node)

    def _note_up(self, node: Node) -> None:
        if node.parent is not None:
            self._note_up(node.parent)
        self._note(node)

    def _wake(self, node: Node) -> None:
        for link in node.links:
            link.moved()

    def _node_of(self, worker: SimulatedWorker) -> Node:
        return next(node for node in self.nodes[-1] if node.hub is worker.link.hub)
