"""What a virtual fleet consists of: paces, levels, workers, hubs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ray_easgd.algorithms import LocalStep
from ray_easgd.elastic import Elastic
from ray_easgd.hub import Hub
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


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of a tree: how many children each hub has, and how often a child meets it.

    ``period`` counts the child's clock: gradient steps of a worker, pushes served by an
    aggregator; ``period_down`` is that of one-way messages to it, None the same. ``moving_rate``
    None takes the hub's own rule, ``cable`` None the simulation's.
    """

    fan_out: int
    period: int
    period_down: int | None = None
    moving_rate: float | None = None
    cable: Cable | None = None


@dataclass
class SimulatedWorker:
    """One worker. Dead or stopped it takes no step, and nobody else notices."""

    name: str
    elastic: Elastic
    link: SimulatedLink
    step: LocalStep
    noise: torch.Generator
    random: np.random.Generator
    pace: Pace
    alive: bool = True
    stopped: bool = False
    leaving: bool = False
    missed_turn: bool = False
    blocked: bool = False

    @property
    def x(self) -> Tensor:
        """Its vector, shape (n,)."""
        return self.elastic.vector.flat


@dataclass
class Story:
    """A reporter that keeps the events, and no numbers."""

    events: list[str] = field(default_factory=list)

    def metrics(self, values: Mapping[str, float], *, step: int) -> None: ...

    def event(self, kind: str, message: str, **details: object) -> None:
        self.events.append(message)

    def report(self, values: Mapping[str, float], *, step: int) -> None: ...

    def stepped(self) -> None: ...


@dataclass
class Node:
    """A hub of the tree, with the wires that end in it."""

    name: str
    hub: Hub
    level: Level
    parent: Node | None = None
    links: list[SimulatedLink] = field(default_factory=list)
