"""The center and the aggregators of one run as its driver sees them: started, watched, replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from actors.aggregator import Legacy, Post, start_aggregator
from actors.center import start_center
from actors.cluster import answers, nodes_for_workers
from actors.hub_slice import HubStatus
from actors.lifecycle import beside_the_driver, end_process, on
from actors.posts import Hub
from ray_easgd.algorithms import Algorithm
from ray_easgd.config import Config
from ray_easgd.edges import hub_options, tie_options
from ray_easgd.errors import BadStorage, HubLost
from ray_easgd.resumption import Resumption
from ray_easgd.topology import HubSpot, tree_of
from ray_easgd.trace import CENTER, Record

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorProxy

    from actors.aggregator import Aggregator
    from actors.controller import Controller

_MOST_LOSSES = 3
_ANSWER_S = 2.0

Tell = Callable[..., None]
ChildrenOf = Callable[[str], Sequence[Any]]


@dataclass
class _Place:
    """One aggregator: its process of now, and what is known of it."""

    spot: HubSpot
    handle: ActorProxy[Aggregator]
    arriving: ObjectRef[Any] | None
    watching: ObjectRef[None]
    life: int = 1
    node: str = ""
    cause: str = ""
    status: HubStatus | None = None
    asked: ObjectRef[HubStatus] | None = None
    losses_in_a_row: int = 0


@dataclass
class Hubs:
    """Every hub of a run. ``tell`` takes what the user should know: kind, message, details.

    ``children_of`` gives the handles of workers that are under an aggregator. ``centers`` are
    started where none are given.
    """

    run: str
    config: Config
    algorithm: Algorithm
    num_workers: int
    tell: Tell
    children_of: ChildrenOf
    traced: bool = False
    centers: tuple[Any, ...] = ()
    _places: dict[str, _Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spots = tree_of(self.config.topology.levels, self.num_workers)
        if not self.centers:
            self._start_center()

    def _start_center(self) -> None:
        exchange = self.config.exchange
        try:
            self.centers = tuple(
                start_center(
                    self.run,
                    hub_options(self.config, self.algorithm, 0, traced=self.traced),
                    self.num_workers,
                    exchange.fragments,
                    shard,
                    exchange.format,
                )
                for shard in range(self.config.center.shards)
            )
        except ValueError as error:  # Ray's word for a name that is taken
            raise BadStorage(
                "run.name",
                self.run,
                "a run of this name is going on on this cluster",
                "Choose another run.name, or end that run first.",
            ) from error

    def go_on(self, resumed: Resumption) -> None:
        """The center takes up what a checkpoint holds, before anybody joins."""
        per = self.config.exchange.fragments
        for k, center in enumerate(self.centers):
            parts = resumed.hubs[k * per : (k + 1) * per]
            ray.get(center.resume.remote(parts, resumed.layout))

    @property
    def num_leaves(self) -> int:
        """Aggregators that take workers."""
        return sum(self._is_leaf(spot) for spot in self.spots[1:])

    def start(self, controller: ActorProxy[Controller]) -> None:
        """Start the aggregators, parents first. Nobody waits for them here."""
        self._controller = controller
        for spot in self.spots[1:]:
            handle = self._start(spot, life=1, **self._where(spot))
            self._places[spot.name] = _Place(
                spot, handle, handle.arrived.remote(), handle.watch.remote()
            )

    @property
    def watched(self) -> dict[ObjectRef[Any], str]:
        """What to wait for: arrivals, and the calls that end only with a process."""
        arriving = {p.arriving: n for n, p in self._places.items() if p.arriving is not None}
        return arriving | {p.watching: n for n, p in self._places.items() if p.arriving is None}

    def settle(self, name: str) -> None:
        """Something that is ``watched`` has happened to this aggregator."""
        place = self._places[name]
        try:
            if place.arriving is not None:
                self._arrived(place, *ray.get(place.arriving))
            else:
                ray.get(place.watching)
        except RayError as error:
            self._replace(place, error)

    @property
    def statuses(self) -> dict[str, HubStatus]:
        """What each aggregator last said of itself."""
        return {n: p.status for n, p in self._places.items() if p.status is not None}

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
    def handles(self) -> dict[str, ActorProxy[Aggregator]]:
        """The aggregators' processes of now."""
        return {name: place.handle for name, place in self._places.items()}

    def take_traces(self) -> Iterator[tuple[str, Record]]:
        """What each hub has recorded since the last time; nothing of an aggregator that has died.

        HubLost where that is the center.
        """
        hubs: dict[str, Any] = {CENTER: self.centers[0], **self.handles}
        for name, hub in hubs.items():
            try:
                records = ray.get(hub.take_trace.remote())
            except RayError as error:
                if name == CENTER:
                    raise HubLost(CENTER, type(error).__name__) from error
                continue
            yield from ((name, record) for record in records)

    def end(self) -> None:
        """End every hub's process."""
        for actor in (*self.handles.values(), *self.centers):
            end_process(actor)

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
            options=hub_options(config, self.algorithm, spot.depth, traced=self.traced),
            tie_options=tie_options(
                config, self.algorithm, spot.depth - 1, traced=self.traced, is_worker=False
            ),
            parent=self.centers[0] if parent is None else parent.handle,
            parent_name="" if parent is None else parent.spot.name,
            parent_life=0 if parent is None else parent.life,
            controller=self._controller,
            transport="object_store" if self.traced else exchange.transport,
            fragments=exchange.fragments,
            wire_format=spot.level.format or exchange.format,
            legacy=legacy,
        )
        return start_aggregator(post, num_children=spot.level.fan_out, **options)

    def _arrived(self, place: _Place, node: str, has_memory: bool) -> None:
        place.node = node
        place.arriving, place.losses_in_a_row = None, 0
        self._controller.post.remote(
            Hub(
                name=place.spot.name,
                handle=place.handle,
                node=place.node,
                parent=place.spot.parent or "",
                life=place.life,
                has_memory=has_memory,
                is_leaf=self._is_leaf(place.spot),
            )
        )
        if place.life > 1:
            self._tell_of_successor(place, has_memory=has_memory)

    def _tell_of_successor(self, place: _Place, *, has_memory: bool) -> None:
        name, status = place.spot.name, place.status
        if has_memory:
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
            has_memory=has_memory,
        )

    def _replace(self, place: _Place, error: RayError) -> None:
        """A successor on the same node if that is there: it may find the memory in its children."""
        place.losses_in_a_row += 1
        place.cause = type(error).__name__
        if place.losses_in_a_row > _MOST_LOSSES:
            raise HubLost(place.spot.name, str(error).strip())
        end_process(place.handle)  # it may be alive behind a broken connection
        parent = self._places.get(place.spot.parent or "")
        (self.centers[0] if parent is None else parent.handle).lose.remote(place.spot.name)
        if answers(place.node):
            options, legacy = {"scheduling_strategy": on(place.node)}, self._legacy(place)
        else:
            options, legacy = self._where(place.spot), None
        place.life += 1
        place.handle = self._start(place.spot, life=place.life, legacy=legacy, **options)
        place.arriving, place.watching = place.handle.arrived.remote(), place.handle.watch.remote()
        place.asked = None

    def _legacy(self, place: _Place) -> Legacy | None:
        """Its memory, by the first child that answers and has it; None where nobody does."""
        name, children = place.spot.name, place.status.children if place.status else {}
        below = [p.handle for p in self._places.values() if p.spot.parent == name]
        asked = [child.entrance.remote(name) for child in (*self.children_of(name), *below)]
        layout = self.centers[0].layout.remote()
        while asked:
            answered, asked = ray.wait(asked, num_returns=1, timeout=_ANSWER_S)
            if not answered:
                return None
            try:
                addresses = ray.get(answered[0])
                if addresses and None not in addresses:
                    return Legacy(
                        addresses=addresses, layout=ray.get(layout), children=dict(children)
                    )
            except RayError:
                continue
        return None

    def _is_leaf(self, spot: HubSpot) -> bool:
        return bool(spot.depth == self.spots[-1].depth)

    def _where(self, spot: HubSpot) -> dict[str, Any]:
        """Actor options that put it where its level's ``placement`` says, on a node that answers.

        One that has just gone is in Ray's books for a while, and keeps what is sent there.
        """
        assert spot.own is not None
        placement = spot.own.placement
        groups: dict[str, str] = {}
        for node, labels in nodes_for_workers(self.config).items():
            if placement in {"node", "free", *labels} and answers(node):
                groups.setdefault(labels.get(placement, node), node)
        if not groups:
            return {"scheduling_strategy": beside_the_driver()}
        return {"scheduling_strategy": on(list(groups.values())[spot.index % len(groups)])}
