"""What the doctor goes by: two looks at a run, a short while apart. Plain values, no process.

NaN is a number that is not known (yet). Names are those of the run: ``worker-2``,
``aggregator-1-0``, ``center``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

Kind = Literal["worker", "spare", "hub", "controller", "other"]
State = Literal["alive", "pending", "restarting", "dead"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeLook:
    """A child's edge to a hub, slice by slice. ``in_memory``: it exchanges in the hub's own.

    ``pull_s``, ``push_s``: how long the quickest of the last few messages took, each way;
    ``pulling_for_s``, ``pushing_for_s``: how long one has been under way now, 0 where none is.
    """

    hub: str
    in_memory: bool = False
    pull_s: float = math.nan
    push_s: float = math.nan
    pulling_for_s: float = 0.0
    pushing_for_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildLook:
    """A worker's or an aggregator's own word.

    ``clock``: gradient steps, or exchanges served. ``waits``: its method waits for others.
    ``doing``: where in the code its training loop is.
    """

    name: str
    clock: int = 0
    exchanges: int = 0
    exchanges_late: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    waits: bool = False
    doing: str = ""
    edges: tuple[EdgeLook, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLook:
    """What a worker last reported to the controller; also one that does not answer now."""

    name: str
    life: int = 1
    device: str = "cpu"
    step: int = 0
    steps_per_s: float = 0.0
    exchanges: int = 0
    restarts: int = 0  # from the center, after numbers that were not finite
    loss: float = math.nan
    distance: float = math.nan
    staleness: float = math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class HubLook:
    """The center's or an aggregator's own word; only of those that answer."""

    name: str
    version: int = 0
    num_parameters: int = 0
    sharing: int = 0  # children that exchange in its memory
    lacks_memory: str = ""  # why it could not share its memory, where that was no choice


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessLook:
    """One actor's process in Ray's books. ``seat``: the worker it is, where that is known.

    ``unanswered_s``: how long it has been asked in vain; 0 where it answered. ``needs``: resources.
    ``age_s`` is 0 of one that is pending: Ray does not say since when.
    """

    name: str
    kind: Kind
    state: State = "alive"
    seat: str = ""
    node: str = ""
    pid: int = 0
    age_s: float = 0.0
    unanswered_s: float = 0.0
    death: str = ""
    needs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeLook:
    """One living machine of the cluster. ``is_reachable``: its door is open to whoever looks.

    ``store_in``: the folder of Ray's object store; ``processes``: what the machine's own kernel
    says of processes there, by their ids. Both empty, and sizes 0, where nobody could look.
    """

    id: str
    address: str = ""
    is_reachable: bool = True
    total: Mapping[str, float] = field(default_factory=dict)
    free: Mapping[str, float] = field(default_factory=dict)
    store_bytes: int = 0
    store_in: str = ""
    shm_bytes: int = 0
    load: float = math.nan
    cores: int = 0
    processes: Mapping[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For a reader."""
        return self.address or self.id[:8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """A run at one moment."""

    workers: tuple[WorkerLook, ...] = ()
    children: tuple[ChildLook, ...] = ()
    hubs: tuple[HubLook, ...] = ()
    processes: tuple[ProcessLook, ...] = ()
    nodes: tuple[NodeLook, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Two looks at one run, ``interval_s`` apart."""

    run: str
    interval_s: float
    first: Look
    second: Look

    def process_of(self, seat: str) -> ProcessLook | None:
        """The living process that is this worker, or this hub."""
        alive = (p for p in self.second.processes if p.state == "alive")
        return next((p for p in alive if seat in (p.seat, p.name)), None)

    def node_of(self, process: ProcessLook | None) -> NodeLook:
        """Where it is; a node without a name where that is not known."""
        known = (n for n in self.second.nodes if process is not None and n.id == process.node)
        return next(known, NodeLook(id="", address="(unknown)"))

    def child(self, name: str) -> tuple[ChildLook | None, ChildLook | None]:
        """Its word at both looks."""
        return _named(self.first.children, name), _named(self.second.children, name)

    def worker(self, name: str) -> tuple[WorkerLook | None, WorkerLook | None]:
        """Its reports at both looks."""
        return _named(self.first.workers, name), _named(self.second.workers, name)

    def steps(self, name: str) -> int | None:
        """Gradient steps between the looks, of one life; None where that is not known."""
        was, now = self.worker(name)
        if was is None or now is None or was.life != now.life:
            return None
        heard, hears = self.child(name)
        if heard is not None and hears is not None:
            return max(0, hears.clock - heard.clock)
        return max(0, now.step - was.step)

    def is_silent(self, name: str) -> bool:
        """Whether that worker or hub has not answered."""
        process = self.process_of(name)
        return process is not None and process.unanswered_s > 0

    @property
    def moved(self) -> dict[str, int]:
        """The workers' gradient steps between the looks, where known."""
        steps = {worker.name: self.steps(worker.name) for worker in self.second.workers}
        return {name: n for name, n in sorted(steps.items()) if n is not None}


T = TypeVar("T", ChildLook, WorkerLook)


def _named(those: tuple[T, ...], name: str) -> T | None:
    return next((one for one in those if one.name == name), None)
