"""The center's processes, one for each shard, as the driver sees them: started, watched, replaced.

A center that dies costs nothing that an answering child holds (``succession.py``): its memory,
where children exchange in that, or the newest snapshot and the pushes it does not show. Workers
keep stepping meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import ray
import torch
from ray.exceptions import RayError

from actors.asking import SILENCE_S, Pulse
from actors.center import start_center
from actors.lifecycle import end_process, on, one_of_a_name
from actors.placement import answers
from actors.posts import Hub, center_name
from actors.succession import Legacy, gather
from ray_easgd.algorithms import Algorithm
from ray_easgd.config import Config
from ray_easgd.edges import hub_options
from ray_easgd.errors import HubLost
from ray_easgd.protocol import Version
from ray_easgd.resumption import Resumption

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorProxy

    from actors.controller import Controller
    from actors.hub_status import HubStatus
    from ray_easgd.progress import Progress

_MOST_LOSSES = 3

Tell = Callable[..., None]
ChildrenOf = Callable[[str], Sequence[Any]]
Kept = Callable[[], Resumption | None]


@dataclass
class _Place:
    """One shard: its process of now, and what is known of it."""

    name: str
    handle: Any
    watching: ObjectRef[None]
    where: ObjectRef[str]
    node: str = ""
    arriving: ObjectRef[str] | None = None
    legacy: Legacy | None = None  # what ``arriving`` takes up
    in_memory: bool = False
    life: int = 1
    epoch: int = 1
    born: int = 0
    cause: str = ""
    status: HubStatus | None = None
    losses_in_a_row: int = 0

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.handle.ping.remote)


class Centers:
    """Every shard of a run's center.

    ``children_of`` gives the handles of a hub's children; ``kept`` the newest checkpoint.
    """

    def __init__(
        self,
        *,
        run: str,
        config: Config,
        algorithm: Algorithm,
        num_workers: int,
        tell: Tell,
        children_of: ChildrenOf,
        kept: Kept = lambda: None,
        traced: bool = False,
        given: Sequence[Any] = (),
    ) -> None:
        self._run, self._config, self._algorithm = run, config, algorithm
        self.most_workers = max(num_workers, *(config.fleet.bounds or (0,)))
        self._tell, self._traced = tell, traced
        self._children_of, self._kept = children_of, kept
        self._controller: ActorProxy[Controller]
        self._standby: dict[int, tuple[Any, ObjectRef[None]]] = {}  # no centers yet; their ends
        self._num_standby_lost = 0
        self._num_started: dict[int, int] = {}
        handles = given or [self._started(k) for k in range(config.center.shards)]
        self._places = [
            _Place(center_name(k), handle, handle.watch.remote(), handle.where.remote())
            for k, handle in enumerate(handles)
        ]

    @property
    def handles(self) -> tuple[Any, ...]:
        """The processes of now, shard by shard."""
        return tuple(place.handle for place in self._places)

    @property
    def posted(self) -> tuple[Hub, ...]:
        """Those that are at work, as their children find them."""
        return tuple(_post_of(place) for place in self._places if place.arriving is None)

    @property
    def lives(self) -> tuple[int, ...]:
        """How many processes were each of them."""
        return tuple(place.life for place in self._places)

    @property
    def statuses(self) -> tuple[HubStatus | None, ...]:
        """What each shard last said of itself."""
        return tuple(place.status for place in self._places)

    @property
    def are_there(self) -> bool:
        """Whether none is being replaced."""
        return all(place.arriving is None for place in self._places)

    @property
    def watched(self) -> dict[ObjectRef[Any], int]:
        """What to wait for: successors that take up their work, and the ends of processes."""
        return {p.arriving or p.watching: k for k, p in enumerate(self._places)}

    def begin(self, controller: ActorProxy[Controller], resumed: Resumption | None) -> None:
        """Take up what a checkpoint holds, before anybody joins; ``controller`` is to be told."""
        self._controller = controller
        for k, place in enumerate(self._places):
            if resumed is not None:
                ray.get(place.handle.resume.remote(self._parts(resumed, k), resumed.layout))
                place.epoch = resumed.hubs[0].version.epoch + 1
                place.born = resumed.born

    def stand_by(self) -> None:
        """Have a process ready for each shard: imports take seconds that a successor has not."""
        for k in range(len(self._places)):
            if k in self._standby and ray.wait([self._standby[k][1]], timeout=0)[0]:
                del self._standby[k]
                self._num_standby_lost += 1
            is_known = bool(self._places[k].node)  # else it would not be beside the shard
            if k not in self._standby and is_known and self._num_standby_lost <= _MOST_LOSSES:
                handle = self._beside(k)
                self._standby[k] = handle, handle.watch.remote()

    def saw(self, statuses: Sequence[HubStatus]) -> None:
        """What each shard last said of itself."""
        for place, status in zip(self._places, statuses, strict=True):
            place.status, place.losses_in_a_row = status, 0
            if not place.node and ray.wait([place.where], timeout=0)[0]:
                with suppress(RayError):  # its end will be told another way
                    place.node = ray.get(place.where)
            place.epoch = max(place.epoch, status.version.epoch)
            place.born = max(place.born, 0, *(life for lives in status.lives for life in lives))

    def settle(self, k: int) -> None:
        """Something that is ``watched`` has happened to this shard."""
        place = self._places[k]
        try:
            if place.arriving is None:
                ray.get(place.watching)
            elif why_not := ray.get(place.arriving):
                self._recover(k, place, why_not)
            else:
                self._arrived(place)
        except RayError as error:
            self._replace(k, place, error)

    def end_the_silent(self) -> None:
        """Let a shard that is stopped come to its end: its successor takes up what it left.

        One that is starting, or taking up its work, owes no answer yet.
        """
        for place in self._places:
            if place.arriving is None and place.node:
                end_if_silent(place.name, place, self._tell)

    def end(self) -> None:
        """End every process."""
        for handle in (*self.handles, *(handle for handle, _ in self._standby.values())):
            end_process(handle)

    # -- succession ----------------------------------------------------------------------------

    def _started(self, shard: int, *, life: int = 1, **where: Any) -> Any:
        exchange = self._config.exchange
        with one_of_a_name(self._run):
            return start_center(
                self._run,
                hub_options(self._config, self._algorithm, 0, traced=self._traced),
                self.most_workers,
                exchange.fragments,
                shard,
                exchange.format,
                life,
                **where,
            )

    def _replace(self, k: int, place: _Place, error: RayError) -> None:
        place.losses_in_a_row += 1
        if place.losses_in_a_row > _MOST_LOSSES:
            raise HubLost(place.name, str(error).strip()) from error
        place.cause = type(error).__name__
        self._tell(
            "center_lost", f"{place.name} is lost ({place.cause}); a successor is on its way"
        )
        end_process(place.handle)  # it may be alive behind a broken connection
        place.legacy = gather(
            place.name,
            self._children_of(place.name),
            self._config.exchange.fragments,
            place.status.lives if place.status else (),
        )
        place.life += 1
        place.handle = self._successor(k)
        place.watching, place.where = place.handle.watch.remote(), place.handle.where.remote()
        place.pulse = Pulse(place.handle.ping.remote)
        place.node = ""
        if place.legacy is not None and place.legacy.addresses:
            place.in_memory = True
            place.arriving = place.handle.take_over.remote(
                place.legacy, place.status.steps if place.status else 0, *self._words_on(place)
            )
        else:
            self._recover(k, place, "")

    def _words_on(self, place: _Place) -> list[Progress | ObjectRef[Progress | None]]:
        """What is known of the data behind its vector: each word may be the newer one.

        The controller's is of all shards together, and none where it died as well.
        """
        told = [place.status.progress] if place.status else []
        return [*told, *([] if self._places[1:] else [self._controller.seen.remote()])]

    def _next_life(self, k: int) -> int:
        """A number that no process of that shard has had."""
        self._num_started[k] = self._num_started.get(k, 1) + 1
        return self._num_started[k]

    def _successor(self, k: int) -> Any:
        handle, end = self._standby.pop(k, (None, None))
        is_there = handle is not None and not ray.wait([end], timeout=0)[0]
        if is_there and answers(self._places[k].node):  # where it was started
            return handle
        if is_there:
            end_process(handle)
        return self._beside(k)

    def _beside(self, k: int) -> Any:
        """A process where the shard is, as its memory is there; elsewhere if that node is gone."""
        node = self._places[k].node
        where = {"scheduling_strategy": on(node)} if node and answers(node) else {}
        return self._started(k, life=self._next_life(k), **where)

    def _recover(self, k: int, place: _Place, why_not: str) -> None:
        """Without memory: from the newest snapshot, else the newest checkpoint, else anew.

        ``why_not``: what the way before this one met with.
        """
        if why_not and place.in_memory:
            self._tell("no_memory", f"{place.name}'s successor cannot use its memory: {why_not}")
        elif why_not:
            self._tell("no_snapshot", f"{place.name}'s successor cannot use a snapshot: {why_not}")
            place.legacy = None
        legacy = place.legacy
        before = max(place.epoch, legacy.version.epoch) if legacy is not None else place.epoch
        place.in_memory, place.epoch = False, before + 1
        if legacy is not None:
            born = place.born = max(legacy.youngest, place.born)
            told = place.status if legacy.in_memory else None
            place.arriving = place.handle.recover.remote(
                place.name, legacy, place.epoch, born, told
            )
        elif (kept := self._kept()) is not None:
            # Its epoch is not the checkpoint's: epochs rise, or nobody follows.
            parts = [
                replace(part, version=Version(before, part.version.count))
                for part in self._parts(kept, k)
            ]
            place.arriving = place.handle.resume.remote(parts, kept.layout)
        else:
            place.arriving = place.handle.start_anew.remote(place.epoch)

    def _arrived(self, place: _Place) -> None:
        place.arriving = None
        self._controller.post.remote(_post_of(place))
        self._tell(
            "center_replaced",
            f"{place.name} was lost ({place.cause}): {self._cost(place)}",
            has_memory=place.in_memory,
        )

    @property
    def _remembers(self) -> bool:
        step = hub_options(self._config, self._algorithm, 0).center_step
        return bool(step.begin(torch.zeros(1)))

    def _cost(self, place: _Place) -> str:
        forgotten = ", and what it remembers beside its vector (momentum, an average) begins anew"
        memory = forgotten if self._remembers else ""
        if place.in_memory:
            return (
                "its successor goes on with its memory and its children; lost is nothing but what "
                f"children on other nodes had under way{memory}"
            )
        if place.legacy is not None:
            return (
                f"its successor goes on from version {place.legacy.version}, the newest that a "
                f"child held, and the children send again what that lacks{memory}"
            )
        return (
            "no child had anything of it; its successor goes on from the newest checkpoint, or "
            "from the first worker that joins"
        )

    def _parts(self, resumed: Resumption, k: int) -> Any:
        per = self._config.exchange.fragments
        return resumed.hubs[k * per : (k + 1) * per]


class _Heard(Protocol):
    handle: Any
    pulse: Pulse


def end_if_silent(name: str, place: _Heard, tell: Tell) -> None:
    """End a process of that name that does not answer; who waits for its end learns of it."""
    if place.pulse.silent_s() < SILENCE_S:
        return
    tell(
        "hub_silent",
        f"{name} has not answered for {SILENCE_S:.0f} s: its process is stopped, or its machine. "
        "It is ended, for a successor to take its place",
        source=name,
    )
    end_process(place.handle)
    place.pulse = Pulse(place.handle.ping.remote)


def _post_of(place: _Place) -> Hub:
    known = place.legacy.known if place.legacy is not None and not place.in_memory else ()
    return Hub(
        name=place.name,
        handle=place.handle,
        parent="",
        life=place.life,
        memory=place.legacy.memory if place.legacy is not None and place.in_memory else (),
        known=known,
        is_leaf=False,
    )
