"""The center and the aggregators of one run as its driver sees them: started, watched, replaced."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from actors.aggregator import Post, start_aggregator
from actors.asking import Pulse, answer_of
from actors.centers import Centers, ChildrenOf, Kept, Tell, end_if_silent
from actors.cluster import nodes_for_workers
from actors.hub_status import HubStatus
from actors.lifecycle import beside_the_driver, end_process, on
from actors.placement import answers
from actors.posts import Hub, center_name
from actors.succession import Legacy, gather
from ray_easgd.algorithms import Algorithm
from ray_easgd.config import Config
from ray_easgd.edges import hub_options, tie_options
from ray_easgd.errors import HubLost
from ray_easgd.placement import hosts
from ray_easgd.resumption import Resumption
from ray_easgd.topology import HubSpot, tree_of
from ray_easgd.trace import CENTER, Record, TraceFile

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorProxy

    from actors.aggregator import Aggregator
    from actors.controller import Controller

_MOST_LOSSES = 3
_ANSWER_WITHIN_S = 5.0  # in the end; one that is stopped is not waited for


@dataclass
class _Place:
    """One aggregator: its process of now, and what is known of it."""

    spot: HubSpot
    handle: ActorProxy[Aggregator]
    arriving: ObjectRef[Any] | None
    watching: ObjectRef[None]
    life: int = 1
    node: str = ""
    legacy: Legacy | None = None  # what its process of now was given
    in_memory: bool = False
    cause: str = ""
    status: HubStatus | None = None
    asked: ObjectRef[HubStatus] | None = None
    losses_in_a_row: int = 0

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.handle.ping.remote)


@dataclass
class Hubs:
    """Every hub of a run. ``tell`` takes what the user should know: kind, message, details.

    ``children_of`` gives the handles of workers that are under an aggregator, or under the center.
    ``given``: the center's processes, where they are there already; ``kept`` the newest checkpoint.
    """

    run: str
    config: Config
    algorithm: Algorithm
    num_workers: int
    tell: Tell
    children_of: ChildrenOf
    traced: bool = False
    kept: Kept = lambda: None
    given: tuple[Any, ...] = ()
    _places: dict[str, _Place] = field(default_factory=dict)
    _recorded: dict[str, ObjectRef[list[Record]]] = field(default_factory=dict)  # asked for

    def __post_init__(self) -> None:
        self.spots = tree_of(self.config.topology.levels, self.num_workers)
        self.root = Centers(
            run=self.run,
            config=self.config,
            algorithm=self.algorithm,
            num_workers=self.num_workers,
            tell=self.tell,
            children_of=self._children,
            kept=self.kept,
            traced=self.traced,
            given=self.given,
        )

    @property
    def centers(self) -> tuple[Any, ...]:
        """The center's processes of now."""
        return self.root.handles

    @property
    def most_edges(self) -> int:
        """Of workers at hubs, were as many there as may be: each may wait for a hub's successor."""
        return self.root.most_workers * self.config.center.shards * self.config.exchange.fragments

    @property
    def num_leaves(self) -> int:
        """Aggregators that take workers."""
        return sum(self._is_leaf(spot) for spot in self.spots[1:])

    @property
    def room(self) -> int:
        """For workers, at each of them."""
        return self.spots[-1].level.fan_out if self.spots[1:] else 0

    def start(self, controller: ActorProxy[Controller], resumed: Resumption | None = None) -> None:
        """Start the aggregators, parents first. Nobody waits for them here."""
        self._controller = controller
        self.root.begin(controller, resumed)
        for spot in self.spots[1:]:
            handle = self._start(spot, life=1, **self._where(spot))
            self._places[spot.name] = _Place(
                spot, handle, handle.arrived.remote(), handle.watch.remote()
            )

    @property
    def watched(self) -> dict[ObjectRef[Any], str | int]:
        """What to wait for: arrivals, and the calls that end only with a process."""
        places = self._places.items()
        return self.root.watched | {p.arriving or p.watching: name for name, p in places}

    def settle(self, which: str | int) -> None:
        """Something that is ``watched`` has happened to this aggregator, or shard of the center."""
        if isinstance(which, int):
            self.root.settle(which)
            return
        place = self._places[which]
        try:
            if place.arriving is not None:
                self._arrived(place, *ray.get(place.arriving))
            else:
                ray.get(place.watching)
        except RayError as error:
            self._replace(place, error)

    def end_the_silent(self) -> None:
        """Let a hub that is stopped come to its end: its successor takes up what it left."""
        self.root.end_the_silent()
        for name, place in self._places.items():
            if place.arriving is None:
                end_if_silent(name, place, self.tell)

    @property
    def statuses(self) -> dict[str, HubStatus]:
        """What each aggregator last said of itself."""
        return {n: p.status for n, p in self._places.items() if p.status is not None}

    @property
    def heard(self) -> list[tuple[Any, HubStatus]]:
        """All that have said something of themselves, with what they said last."""
        shards = zip(self.root.handles, self.root.statuses, strict=True)
        places = ((place.handle, place.status) for place in self._places.values())
        return [(hub, status) for hub, status in (*shards, *places) if status is not None]

    def look(self) -> None:
        """Ask the aggregators how they are, and take in what they have answered. Never waits."""
        for place in self._places.values():
            if place.asked is not None and ray.wait([place.asked], timeout=0)[0]:
                asked, place.asked = place.asked, None
                try:
                    place.status = ray.get(asked)
                except RayError:
                    continue  # its watch will tell
            if place.asked is None:
                place.asked = place.handle.status.remote()

    @property
    def posted(self) -> tuple[Hub, ...]:
        """Where all hubs are: the center's processes, and the aggregators that have arrived."""
        there = (p for p in self._places.values() if p.arriving is None)
        return (*self.root.posted, *(self._post_of(p) for p in there))

    @property
    def handles(self) -> dict[str, ActorProxy[Aggregator]]:
        """The aggregators' processes of now."""
        return {name: place.handle for name, place in self._places.items()}

    def ledger_error(self) -> float | None:
        """The worst gap of the center and of aggregators that answer; None without ledgers."""
        gaps = [answer_of(center.ledger_error.remote()) for center in self.centers]
        asked = [hub.ledger_error.remote() for hub in self.handles.values()]
        if asked:
            for reference in ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_WITHIN_S)[0]:
                with suppress(HubLost):  # it died with its children gone: there is nothing to ask
                    gaps.append(answer_of(reference))
        return max((gap for gap in gaps if gap is not None), default=None)

    def write_traces(self, trace: TraceFile) -> None:
        """Add what each hub has recorded since the last time. Never waits: what one has not
        answered yet comes another time, before anything newer."""
        for name, hub in {CENTER: self.centers[0], **self.handles}.items():
            if name not in self._recorded:
                self._recorded[name] = hub.take_trace.remote()
            elif ray.wait([self._recorded[name]], timeout=0)[0]:
                self._write_recorded(trace, name)

    def end_traces(self, trace: TraceFile) -> None:
        """The rest, and the center that it led to: nobody's last push falls in between.

        An aggregator may still be on its way to the center, with what its children left.
        """
        for name in list(self._recorded):
            self._write_recorded(trace, name)
        records, header, (vector,) = answer_of(self.centers[0].end_trace.remote())
        for record in records:
            trace.write(record, hub=CENTER)
        for name, hub in self.handles.items():  # last: what led to the center's records is there
            self._recorded[name] = hub.take_trace.remote()
            self._write_recorded(trace, name)
        trace.end(header.version, answer_of(vector))

    def end(self) -> None:
        """End every hub's process."""
        for actor in self.handles.values():
            end_process(actor)
        self.root.end()

    def _write_recorded(self, trace: TraceFile, hub: str) -> None:
        asked = self._recorded.pop(hub)
        if not ray.wait([asked], timeout=_ANSWER_WITHIN_S)[0]:
            return
        with suppress(RayError):  # of one that has died nothing is known
            for record in ray.get(asked):
                trace.write(record, hub=hub)

    # -- aggregators ---------------------------------------------------------------------------

    def _start(
        self, spot: HubSpot, *, life: int, legacy: Legacy | None = None, **options: Any
    ) -> ActorProxy[Aggregator]:
        config, exchange = self.config, self.config.exchange
        parent = self._places.get(spot.parent or "")
        post = Post(
            run=self.run,
            name=spot.name,
            life=life,
            config=config,
            options=hub_options(config, self.algorithm, spot.depth, traced=self.traced),
            tie_options=tie_options(
                config, self.algorithm, spot.depth - 1, traced=self.traced, is_worker=False
            ),
            parent=self.centers[0] if parent is None else parent.handle,
            parent_name=center_name(0) if parent is None else parent.spot.name,
            parent_life=self.root.lives[0] if parent is None else parent.life,
            controller=self._controller,
            transport="object_store" if self.traced else exchange.transport,
            fragments=exchange.fragments,
            wire_format=spot.level.format or exchange.format,
            legacy=legacy,
        )
        return start_aggregator(post, num_children=spot.level.fan_out, **options)

    def _arrived(self, place: _Place, node: str, has_memory: bool) -> None:
        place.node, place.in_memory = node, has_memory
        place.arriving, place.losses_in_a_row = None, 0
        self._controller.post.remote(self._post_of(place))
        if place.life > 1:
            self._tell_of_successor(place)

    def _post_of(self, place: _Place) -> Hub:
        return Hub(
            name=place.spot.name,
            handle=place.handle,
            node=place.node,
            parent=place.spot.parent or "",
            life=place.life,
            memory=place.legacy.memory if place.legacy is not None and place.in_memory else (),
            is_leaf=self._is_leaf(place.spot),
        )

    def _tell_of_successor(self, place: _Place) -> None:
        name, status = place.spot.name, place.status
        if place.in_memory:
            cost = (
                "its successor goes on with its memory and its children; lost are at most the two "
                "pushes it had under way to its parent"
            )
        else:
            distance = f" (distance to its parent: {status.distance:.3g})" if status else ""
            cost = (
                f"its successor begins anew at its parent; what it had not passed up{distance} is "
                "lost, and its children go on under it from where they are"
            )
        self.tell(
            "aggregator_replaced",
            f"{name} was lost ({place.cause}): {cost}",
            source=name,
            has_memory=place.in_memory,
        )

    def _replace(self, place: _Place, error: RayError) -> None:
        """A successor on the same node if that is there: it may find the memory in its children."""
        place.losses_in_a_row += 1
        place.cause = type(error).__name__
        if place.losses_in_a_row > _MOST_LOSSES:
            raise HubLost(place.spot.name, str(error).strip())
        end_process(place.handle)  # it may be alive behind a broken connection
        for hub, status in self.heard:
            hub.lose.remote(place.spot.name, status.lives_of(place.spot.name))
        if answers(place.node):
            options, place.legacy = {"scheduling_strategy": on(place.node)}, self._legacy(place)
        else:
            options, place.legacy = self._where(place.spot), None
        place.life += 1
        place.handle = self._start(place.spot, life=place.life, legacy=place.legacy, **options)
        place.arriving, place.watching = place.handle.arrived.remote(), place.handle.watch.remote()
        place.pulse = Pulse(place.handle.ping.remote)
        place.asked = None

    def _legacy(self, place: _Place) -> Legacy | None:
        """Its memory, through a child that answers and has it; None where nobody does."""
        name = place.spot.name
        known = place.status.lives if place.status else ()
        legacy = gather(name, self._children(name), self.config.exchange.fragments, known)
        return legacy if legacy is not None and legacy.addresses else None

    def _children(self, hub: str) -> list[Any]:
        """The actors below a hub, or below one shard of the center."""
        below = [p.handle for p in self._places.values() if p.spot.parent == hub]
        return [*self.children_of(hub if hub in self._places else ""), *below]

    def _is_leaf(self, spot: HubSpot) -> bool:
        return bool(spot.depth == self.spots[-1].depth)

    def _where(self, spot: HubSpot) -> dict[str, Any]:
        """Actor options that put it where its level's ``placement`` says, on a node that answers.

        One that has just gone is in Ray's books for a while, and keeps what is sent there.
        """
        assert spot.own is not None
        groups = hosts(spot.own.placement, nodes_for_workers(self.config))
        found = [next(filter(answers, nodes), None) for nodes in groups.values()]
        there = [node for node in found if node is not None]
        if not there:
            return {"scheduling_strategy": beside_the_driver()}
        return {"scheduling_strategy": on(there[spot.index % len(there)])}
