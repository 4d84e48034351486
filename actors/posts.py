"""Where the hubs are, who is under which, and who took over from whom. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Condition
from typing import Any

from ray_easgd.topology import HubLoad, choose_hub

Sitting = tuple[str, int]
"""One life of a worker: its name, and how many processes were it by then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """An aggregator that is there, or the center: the actor's ``handle``, and the id of its node.

    ``life`` counts the processes that were it. ``memory``: tokens of the segments of the one
    before that it went on with, so children who exchange there are its own already; ``known`` are
    others' lives that it goes on with, for each slice. ``is_leaf``: workers may join. The center
    has no parent.
    """

    name: str
    handle: Any
    node: str = ""
    parent: str = "center"
    life: int = 1
    memory: tuple[str, ...] = ()
    known: tuple[frozenset[int], ...] = ()
    is_leaf: bool = True

    def lives(self, part: int) -> frozenset[int]:
        """Those it goes on with in one slice."""
        return self.known[part] if self.known else frozenset()


def center_name(shard: int) -> str:
    """Of a process of the center."""
    return f"center-{shard}" if shard else "center"


class Posts:
    """The hubs of a run as children find them.

    ``num_hubs``: aggregators that take workers, ``room``: of each, as the tree is planned.
    """

    def __init__(self, num_hubs: int, room: int = 0) -> None:
        self._num_hubs, self._room = num_hubs, room
        self._hubs: dict[str, Hub] = {}
        self.workers: dict[Sitting, str] = {}  # the hub that each is under
        self._changed = Condition()

    def put(self, hub: Hub) -> None:
        """It is there, for the first time or again. Word of an older life changes nothing."""
        with self._changed:
            known = self._hubs.get(hub.name)
            if known is None or hub.life >= known.life:  # words may overtake each other
                self._hubs[hub.name] = hub
                self._changed.notify_all()

    def attach(self, worker: Sitting, node: str) -> Hub:
        """The hub on its node while that has room: then no other is waited for. Once all were
        there, else the one with the fewest workers."""
        with self._changed:
            self.workers.pop(worker, None)
            self._changed.wait_for(
                lambda: len(self._leaves()) >= self._num_hubs or self._has_room(node)
            )
            self.workers[worker] = choose_hub(self._loads(), node)
            return self._hubs[self.workers[worker]]

    def _has_room(self, node: str) -> bool:
        return any(h.node == node and h.num_children < self._room for h in self._loads())

    def _loads(self) -> list[HubLoad]:
        under = list(self.workers.values())
        return [HubLoad(h.name, h.node, under.count(h.name)) for h in self._leaves()]

    @property
    def hubs(self) -> tuple[Hub, ...]:
        """The aggregators that are there, in the order of their names."""
        with self._changed:
            return tuple(hub for _, hub in sorted(self._hubs.items()) if hub.parent)

    @property
    def centers(self) -> tuple[Any, ...]:
        """The center's processes, shard by shard: in the order in which they were first put."""
        with self._changed:
            return tuple(hub.handle for hub in self._hubs.values() if not hub.parent)

    def leave(self, worker: Sitting) -> None:
        """It makes room for others."""
        with self._changed:
            self.workers.pop(worker, None)

    def successor(self, name: str, life: int) -> Hub:
        """Who came after that life. Waits until it is there."""
        with self._changed:
            self._changed.wait_for(lambda: name in self._hubs and self._hubs[name].life > life)
            return self._hubs[name]

    def _leaves(self) -> list[Hub]:
        return [hub for hub in self._hubs.values() if hub.parent and hub.is_leaf]
