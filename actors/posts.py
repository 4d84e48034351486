"""Who is under which aggregator, and who took over from whom. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Condition
from typing import Any

from ray_easgd.topology import HubLoad, choose_hub


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """An aggregator that is there: the actor's ``handle``, and the id of its node.

    ``life`` counts the processes that were it. ``has_memory``: it went on with the memory of the
    one before, so children who exchange there are its own already. ``is_leaf``: workers may join.
    """

    name: str
    handle: Any
    node: str
    parent: str = "center"
    life: int = 1
    has_memory: bool = False
    is_leaf: bool = True


class Posts:
    """The aggregators of a run as workers find them. ``num_hubs``: how many take workers."""

    def __init__(self, num_hubs: int) -> None:
        self._num_hubs = num_hubs
        self._hubs: dict[str, Hub] = {}
        self._workers: dict[str, str] = {}
        self._changed = Condition()

    def put(self, hub: Hub) -> None:
        """It is there, for the first time or again."""
        with self._changed:
            self._hubs[hub.name] = hub
            self._changed.notify_all()

    def attach(self, worker: str, node: str) -> Hub:
        """The hub on its node, or the one with the fewest workers; once all were there."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._leaves()) >= self._num_hubs)
            self._workers.pop(worker, None)
            under = list(self._workers.values())
            loads = [HubLoad(h.name, h.node, under.count(h.name)) for h in self._leaves()]
            self._workers[worker] = choose_hub(loads, node)
            return self._hubs[self._workers[worker]]

    @property
    def hubs(self) -> tuple[Hub, ...]:
        """Those that are there, in the order of their names."""
        with self._changed:
            return tuple(hub for _, hub in sorted(self._hubs.items()))

    def leave(self, worker: str) -> None:
        """It makes room for others."""
        with self._changed:
            self._workers.pop(worker, None)

    def successor(self, name: str, life: int) -> Hub:
        """Who came after that life."""
        with self._changed:
            self._changed.wait_for(lambda: self._hubs[name].life > life)
            return self._hubs[name]

    def _leaves(self) -> list[Hub]:
        return [hub for hub in self._hubs.values() if hub.is_leaf]
