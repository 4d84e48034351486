"""An aggregator: a hub for its children and, towards its parent, a worker without gradients.

A pure machine over a ``Link``, as the hub is one. Its vector is one tensor with both roles: its
children's pushes move it, and so does its parent's pull. Its local clock counts the pushes it has
served (docs/mathematics.md, 2.10).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.hub import Hub, HubOptions
from ray_easgd.link import Link, Snapshot
from ray_easgd.parameters import ParameterVector, Slot
from ray_easgd.ports import Reporter
from ray_easgd.protocol import PushHeader, PushReply
from ray_easgd.wire import Payload


class Aggregator:
    """``options`` is how it treats its children, ``tie_options`` how it meets its parent."""

    def __init__(
        self,
        name: str,
        options: HubOptions,
        link: Link,
        tie_options: ElasticOptions,
        reporter: Reporter,
    ) -> None:
        self.name, self.hub, self.link = name, Hub(options), link
        self.tie: Elastic | None = None
        self._tie_options, self._reporter = tie_options, reporter

    def admit(self, child: str, vector: Tensor, layout: Sequence[Slot]) -> int:
        """As a hub does; the first child's vector also introduces it to its parent."""
        if self.tie is None:
            own = ParameterVector(vector.clone(), tuple(layout))
            self.tie = Elastic(own, self.link, self._tie_options, self._reporter, name=self.name)
            self.hub.adopt(own.flat, layout)
        return self.hub.admit(child, vector, layout)

    def dismiss(self, incarnation: int, *, lost: bool = False) -> None:
        """A child's goodbye, or its loss; without children it takes leave of its parent too."""
        served = self.hub.version.count
        self.hub.dismiss(incarnation, lost=lost)
        self._count_served(since=served)
        if not self.hub.children and self.tie is not None:
            self.tie.finish()
            self.tie = None

    def apply(self, header: PushHeader, d: Payload) -> PushReply:
        """Take a child's push in, and meet the parent when that is due."""
        served = self.hub.version.count
        reply = self.hub.apply(header, d)
        self._count_served(since=served)
        return reply

    @property
    def waiting(self) -> bool:
        """Whether it waits for a round of its own parent; then so do its children."""
        return self.tie is not None and self.tie.waiting

    def proceed(self) -> None:
        """Go on with what has arrived from the parent. Never blocks."""
        if self.tie is not None:
            self._watch(self.tie, self.tie.proceed)

    def shows(self, incarnation: int, sequence: int) -> bool:
        """As a hub does, but not while it waits for its parent."""
        return not self.waiting and self.hub.shows(incarnation, sequence)

    def snapshot(self) -> Snapshot:
        """A copy of the vector with its header, as one cut."""
        return self.hub.snapshot()

    def _count_served(self, *, since: int) -> None:
        """Its local clock is the number of pushes it has served."""
        for _ in range(self.hub.version.count - since):
            if self.tie is not None:
                self._watch(self.tie, self.tie.step)

    def _watch(self, tie: Elastic, act: Callable[[], None]) -> None:
        """What moves the vector makes a version."""
        moves = tie.counts.moves
        act()
        if tie.counts.moves > moves:
            self.hub.moved()
