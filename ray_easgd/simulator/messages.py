"""A virtual EASGD Tree by one-way messages (thesis, 6.1; docs/mathematics.md, 2.10).

    tree = MessageTree(Quadratic(), (4, 4), multi_scale(100, 10), moving_rate=0.18, lr=0.1)
    tree.run(ticks=1000)
    tree.root.x

Every node holds a ``MessageNode``, unchanged; what is simulated is when turns come and how long
messages take. A message lands after all turns of the moment it was sent, if the cable takes no
time: then equals in step hear it on their next tick.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from ray_easgd.algorithms.messages import Message, MessageNode, MessageOptions, Periods
from ray_easgd.algorithms.steps import Nesterov
from ray_easgd.simulator.clock import Clock
from ray_easgd.simulator.parts import Pace
from ray_easgd.simulator.problems import Problem
from ray_easgd.simulator.wire import Cable


@dataclass
class SimulatedNode:
    """One node; a leaf has a local ``step``. Dead it takes no turn, and nobody else notices."""

    name: str
    node: MessageNode
    step: Nesterov | None
    noise: torch.Generator
    random: np.random.Generator
    pace: Pace
    alive: bool = True

    @property
    def x(self) -> Tensor:
        """Its vector, shape (n,)."""
        return self.node.x


@dataclass
class MessageTree:
    """One virtual run of a tree on a problem, all nodes from one initial vector.

    ``fan_outs`` are the children of the root, of each of those, and so on to the leaves; names
    are paths, as ``root/2/0``. ``periods`` has one entry for each of them. ``moving_rate`` is
    alpha, the same in all nodes. Leaves step and the others tick at the same ``pace``.
    ``trace`` holds one tuple per arrival: time in seconds, sender, receiver, the sender's clock.
    """

    problem: Problem
    fan_outs: tuple[int, ...]
    periods: Periods
    moving_rate: float
    lr: float
    momentum: float = 0.0
    pace: Pace = field(default_factory=Pace)
    cable: Cable = field(default_factory=Cable)
    seed: int = 0
    trace: list[tuple[float, str, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.levels = list(self._grow())
        self.nodes = {node.name: node for node in chain(*self.levels)}
        for node in self.nodes.values():
            self._schedule(node)

    @property
    def root(self) -> SimulatedNode:
        """The center that is evaluated."""
        return self.levels[0][0]

    @property
    def leaves(self) -> list[SimulatedNode]:
        """The nodes that take gradients."""
        return self.levels[-1]

    def crash(self, node: SimulatedNode) -> None:
        """The node is gone. What it had on the wire arrives; nobody is told."""
        node.alive = False

    def run(self, *, seconds: float = 0.0, ticks: int = 0) -> None:
        """Let so many seconds pass, and so many ticks of ``pace.step_s`` seconds."""
        last_s = self.clock.now_s + seconds + ticks * self.pace.step_s
        while self.clock.next_s <= last_s:
            self.clock.advance()
        self.clock.now_s = last_s

    def _grow(self) -> Iterator[list[SimulatedNode]]:
        """The levels of the tree, from the root down."""
        names, born = ["root"], 0
        for level in range(len(self.fan_outs) + 1):
            yield [self._born(name, level, born + k) for k, name in enumerate(names)]
            born += len(names)
            names = [child for name in names for child in self._children(name, level)]

    def _children(self, name: str, level: int) -> list[str]:
        is_leaf = level == len(self.fan_outs)
        return [] if is_leaf else [f"{name}/{k}" for k in range(self.fan_outs[level])]

    def _born(self, name: str, level: int, index: int) -> SimulatedNode:
        children = self._children(name, level)
        periods = dict.fromkeys(children, self.periods.down[level]) if children else {}
        if level:
            periods[name.rpartition("/")[0]] = self.periods.up[level - 1]
        x = self.problem.start()
        seeds = np.random.SeedSequence([self.seed, index])
        return SimulatedNode(
            name=name,
            node=MessageNode(x, MessageOptions(moving_rate=self.moving_rate, periods=periods)),
            step=None if children else Nesterov([x], lr=self.lr, momentum=self.momentum),
            noise=torch.Generator().manual_seed(int(seeds.generate_state(1)[0])),
            random=np.random.default_rng(seeds),
            pace=self.pace,
        )

    def _schedule(self, node: SimulatedNode) -> None:
        self.clock.after(node.pace.next_s(node.random), lambda: self._turn(node))

    @torch.no_grad()
    def _turn(self, node: SimulatedNode) -> None:
        if not node.alive:
            return
        node.node.absorb_()
        if node.step:
            node.step.prepare()
            node.x.grad = self.problem.gradient(node.x, node.noise)
            node.step.step()
        for message in node.node.tick():
            self._send(node, message)
        self._schedule(node)

    def _send(self, sender: SimulatedNode, message: Message) -> None:
        sent = sender.node.clock
        takes_s = self.cable.takes_s(message.x.nbytes)
        self.clock.after(takes_s, lambda: self._land(sender.name, message, sent))

    def _land(self, sender: str, message: Message, sent: int) -> None:
        receiver = self.nodes[message.receiver]
        if receiver.alive:
            receiver.node.arrive(sender, message.x)
            self.trace.append((self.clock.now_s, sender, message.receiver, sent))
