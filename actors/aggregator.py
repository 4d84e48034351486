"""An aggregator's process: a hub for its children, and a child of its parent."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import ray

from actors.center import Center, groups
from actors.glance import glance
from actors.lifecycle import actor_name, as_actor
from actors.words import Note
from ray_easgd.doctor.evidence import ChildLook

if TYPE_CHECKING:  # Ray imports this module wherever a handle arrives: without torch
    import numpy as np
    from ray.actor import ActorProxy

    from actors.controller import Controller
    from actors.hub_slice import HubSlice
    from actors.hub_status import HubStatus
    from actors.links import HubLink, Transport
    from actors.succession import Holding, Legacy
    from ray_easgd.aggregator import Aggregator as AggregatorHub
    from ray_easgd.config import Config
    from ray_easgd.elastic_options import ElasticOptions
    from ray_easgd.hub import HubOptions
    from ray_easgd.protocol import Intervals, SnapshotHeader, WireFormat

_REPORT_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Post:
    """An aggregator's place in a run. ``life`` counts the processes that have held it.

    ``options`` is how it treats its children, ``tie_options`` how it meets its parent.
    ``legacy``: of the one before, whose memory may still be there.
    """

    run: str
    name: str
    life: int
    config: Config
    options: HubOptions
    tie_options: ElasticOptions
    parent: Any
    parent_name: str
    parent_life: int
    controller: ActorProxy[Controller]
    transport: Transport
    fragments: int
    wire_format: WireFormat
    legacy: Legacy | None = None


class Aggregator(Center):
    """The actor of one aggregator. ``part`` as in ``Center``."""

    def __init__(self, post: Post) -> None:
        from actors.hub_slice import HubSlice
        from actors.journaled import open_journal
        from actors.process import load_loops, settle_in
        from ray_easgd.wire import warm_up

        settle_in()
        load_loops()
        for wire_format in (post.wire_format, post.tie_options.wire_format):
            warm_up(wire_format)
        self._name, self._parent = post.name, post.parent_name
        self._waits = post.tie_options.algorithm.rounds != "none"
        self._reporter = HubReporter(post.controller, post.name)
        self._journal = open_journal(post.config, post.name)
        self._links = [self._link(post, part) for part in range(post.fragments)]
        hubs = [self._hub(post, link) for link in self._links]
        self.has_memory = self._took_over(post, hubs)
        self._hubs = hubs
        self._open(post.run, [HubSlice(hub) for hub in hubs])
        for link, part in zip(self._links, self._slices, strict=True):
            _Waker(link, part)

    @ray.method(concurrency_group="control")
    def arrived(self) -> tuple[str, bool]:
        """The id of its node, and whether it went on with the memory of the one before."""
        return self._node, self.has_memory

    @ray.method(concurrency_group="asked")
    def holdings(self, hub: str) -> tuple[Holding, ...]:
        """What it has of that hub, slice by slice; empty if it is not its child."""
        from actors.succession import holdings

        return holdings(self._links, hub)

    @ray.method(concurrency_group="asked")
    def newest(self, hub: str, part: int) -> tuple[SnapshotHeader, np.ndarray]:
        """The newest snapshot of a slice that it was given."""
        from actors.succession import newest

        return newest(self._links, hub, part)

    @ray.method(concurrency_group="control")
    def status(self) -> HubStatus:
        """The hub at a glance."""
        latest = self._reporter.latest
        known: dict[str, Any] = {k: latest[k] for k in ("distance", "staleness") if k in latest}
        known |= self._done_upwards()
        return replace(self._status(), name=self._name, parent=self._parent, **known)

    @ray.method(concurrency_group="control")
    def glance(self) -> ChildLook:
        """How it is as its parent's child."""
        return glance(
            self._name,
            self._links,
            clock=sum(hub.num_served for hub in self._hubs),
            counts=[hub.tie.counts for hub in self._hubs if hub.tie is not None],
            waits=self._waits,
        )

    def _done_upwards(self) -> dict[str, Any]:
        """What has gone on between it and its parent, over all slices."""
        ties = [hub.tie.counts for hub in self._hubs if hub.tie is not None]
        under_way_s = sum(link.under_way_s for link in self._links)
        return {
            "exchanges": sum(tie.exchanges for tie in ties),
            "exchange_s": under_way_s + sum(tie.in_place_s for tie in ties),
            "bytes_sent": sum(tie.bytes_sent for tie in ties),
            "bytes_received": sum(tie.bytes_received for tie in ties),
        }

    def _link(self, post: Post, part: int) -> HubLink:
        from actors.asking import find_in
        from actors.journaled import journaled
        from actors.links import open_link

        return open_link(
            post.parent,
            post.name,
            transport=post.transport,
            wire_format=post.tie_options.wire_format,
            part=part,
            can_share=post.tie_options.algorithm.in_place,
            hub_name=post.parent_name,
            find=find_in(post.controller, post.parent_name, post.parent_life),
            tell=self._reporter.event,
            kind=journaled(self._journal, post.config.seed),
        )

    def _hub(self, post: Post, link: HubLink) -> AggregatorHub:
        from ray_easgd.aggregator import Aggregator as AggregatorHub

        def give_back(intervals: Intervals) -> None:
            post.controller.give_back.remote(intervals)

        hub = AggregatorHub(
            post.name, post.options, link, post.tie_options, self._reporter, give_back
        )
        hub.epoch = post.life  # one that begins anew is not taken for the one before
        return hub

    def _took_over(self, post: Post, hubs: list[AggregatorHub]) -> bool:
        if post.legacy is None:
            return False
        from actors.hub_slice import take_memory
        from ray_easgd.shared.segment import SharedMemoryUnavailable

        try:
            take_memory(post.legacy, hubs)
        except SharedMemoryUnavailable as error:
            self._reporter.event("no_memory", f"{post.name} begins without memory: {error}")
            return False
        return True


class _Waker:
    """Lets a hub go on whenever something arrives for it; a thread of its own, for it may join.

    Without it nothing would move again, and children would wait: where it fails the process ends,
    for a successor to take its place.
    """

    def __init__(self, link: HubLink, part: HubSlice) -> None:
        self._arrived, self._part = Event(), part
        link.on_arrival = self._arrived.set
        self._arrived.set()  # what came before anybody listened
        Thread(target=self._run, name="waker", daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                self._arrived.wait()
                self._arrived.clear()
                self._part.proceed()
        finally:
            traceback.print_exc()
            os._exit(1)


@dataclass
class HubReporter:
    """Sends an aggregator's numbers to the controller, a bundle every half second."""

    controller: ActorProxy[Controller]
    name: str
    latest: dict[str, float] = field(default_factory=dict)
    _notes: list[Note] = field(default_factory=list)
    _sent_at: float = 0.0

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        now = time.time()
        self.latest.update(values)
        self._notes += [
            Note(at=now, source=self.name, name=k, step=step, value=v) for k, v in values.items()
        ]
        if now - self._sent_at >= _REPORT_EVERY_S:
            self._send(now)

    def event(self, kind: str, message: str, **details: object) -> None:
        now = time.time()
        self._notes.append(
            Note(at=now, source=self.name, name=kind, message=message, details=details)
        )
        self._send(now)

    def report(self, values: Mapping[str, float], *, step: int) -> None:
        """It has no loop of a user's own."""

    def stepped(self) -> None:
        """It takes no steps."""

    def _send(self, now: float) -> None:
        notes, self._notes, self._sent_at = self._notes, [], now
        self.controller.note.remote(None, notes)


def start_aggregator(post: Post, *, num_children: int, **options: Any) -> ActorProxy[Aggregator]:
    """Start an aggregator's actor; ``options`` say where. As to restarts see ``start_center``."""
    return as_actor(
        Aggregator,
        name=actor_name(post.run, post.name, post.life),
        concurrency_groups=groups(num_children, post.fragments),
        num_cpus=0,
        max_restarts=0,
        max_task_retries=0,
        allow_out_of_order_execution=True,
        **options,
    ).remote(post)
