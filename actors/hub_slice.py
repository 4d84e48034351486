"""A slice of the center in its process: the hub, its published snapshots, the memory it shares.

One lock makes each call on the hub atomic.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from threading import Condition
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import torch

from actors.hub_status import HubStatus
from ray_easgd.aggregator import Aggregator
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import (
    Interval,
    PushHeader,
    PushReply,
    SnapshotHeader,
    Version,
    WireFormat,
)
from ray_easgd.saved_hub import SavedHub, resume, save
from ray_easgd.shared_hub import Place, SharedHub
from ray_easgd.trace import Record

if TYPE_CHECKING:
    from actors.succession import Legacy
    from ray_easgd.codec import Coded, SharedBase
    from ray_easgd.hub import HubOptions
    from ray_easgd.shared.segment import Address, Segment

_MEASURE_S = 0.4

Published = tuple[SnapshotHeader, list[Any]]
"""A snapshot's header, and ObjectRefs to its vector of shape (n,): one for each slice. In a list,
so that Ray hands the references on instead of fetching the vectors."""


@dataclass(frozen=True, slots=True)
class PublishedCoded:
    """A snapshot coded against a base that all children share; the references in lists, as above.

    ``coded`` is empty where the snapshot is itself the new base.
    """

    header: SnapshotHeader
    base: Version
    base_ref: list[Any]
    coded: list[Any]


class HubSlice:
    """A hub behind a lock, its vector in the object store for whoever asks.

    ``moved`` is the lock; who waits with it wakes whenever something has happened.
    """

    def __init__(self, hub: SharedHub) -> None:
        self.moved = Condition()
        self.hub = hub
        self._measured, self._measured_at, self._rate = 0, time.monotonic(), float("nan")
        self._published: Published | None = None
        self._num_published = 0
        self._bases: dict[WireFormat, tuple[SharedBase, list[Any]]] = {}
        self._coded: dict[WireFormat, PublishedCoded] = {}

    def join(
        self, child: str, vector: np.ndarray, layout: Sequence[Slot], *, is_near: bool
    ) -> tuple[int, SnapshotHeader, list[Any], Place | None]:
        """Admit a child's new life: its incarnation, and the center or a place in its memory.

        With it the earlier ones end. Nobody else might end one: its join was heard and the answer
        lost, or it was kept by a successor. In rounds all would wait for it.
        """
        with self.moved:
            incarnation = self.hub.admit(child, torch.from_numpy(vector), layout)
            for life, name in list(self.hub.children.items()):
                if name == child and life != incarnation:
                    self.hub.dismiss(life, lost=True)
            self.moved.notify_all()  # a turn may begin with it
            place = self.hub.give_place(incarnation) if is_near else None
            if place is not None:
                return incarnation, self.hub.header(), [], place
            return incarnation, *self._publish(), None

    def leave(self, incarnation: int, intervals: tuple[Interval, ...]) -> None:
        """A child's goodbye, with the data its exchanges in memory had no room to name."""
        with self.moved:
            self.hub.progress.add(intervals)
            self.hub.dismiss(incarnation)
            self.moved.notify_all()

    def lose(self, child: str, lives: Collection[int]) -> list[int]:
        """A child's process is gone: of its lives these end, and late pushes of theirs are refused.

        Others stay: who comes in its place may be here before this word is.
        """
        with self.moved:
            ended = [life for life in lives if self.hub.children.get(life) == child]
            for life in ended:
                self.hub.dismiss(life, lost=True)
            self.moved.notify_all()
            return ended

    def push(self, header: PushHeader, d: np.ndarray | Coded) -> PushReply:
        """Apply one elastic difference, exactly once."""
        payload = torch.from_numpy(d) if isinstance(d, np.ndarray) else d
        with self.moved:
            reply = self.hub.apply(header, payload)
            self.moved.notify_all()
            return reply

    def pull(self) -> Published:
        """The newest snapshot. One put per version, however many pull it."""
        with self.moved:
            return self._publish()

    def pull_coded(self, wire_format: WireFormat) -> PublishedCoded:
        """The newest snapshot, coded. One put per version, however many pull it."""
        with self.moved:
            return self._publish_coded(wire_format)

    def pull_shown(
        self, incarnation: int, sequence: int, wire_format: WireFormat
    ) -> Published | PublishedCoded:
        """The snapshot this child waits for: one that shows its push, in its turn.

        It wakes with each push, goodbye and loss, so a dead child holds nobody up.
        """
        with self.moved:
            self.moved.wait_for(lambda: self.hub.shows(incarnation, sequence))
            plain = wire_format == "float32"
            return self._publish() if plain else self._publish_coded(wire_format)

    def save(self) -> SavedHub:
        """All that the slice is, as one cut."""
        with self.moved:
            return save(self.hub)

    def resume(self, saved: SavedHub, layout: Sequence[Slot]) -> None:
        """Go on as that hub; nobody has joined yet."""
        with self.moved:
            resume(self.hub, saved, layout)

    def start_anew(self, epoch: int) -> None:
        """Nothing is left of the hub before; nobody has joined yet."""
        with self.moved:
            self.hub.epoch = epoch

    def recover(
        self,
        held: tuple[SnapshotHeader, np.ndarray],
        layout: Sequence[Slot],
        lives: Mapping[int, str],
        *,
        epoch: int,
        born: int,
    ) -> None:
        """Take a lost hub's place, with these of its children; nobody has joined yet."""
        header, vector = held
        snapshot = Snapshot(header, torch.from_numpy(vector))
        with self.moved:
            self.hub.recover(snapshot, layout, lives, epoch=epoch, born=born)

    def pull_judged(self) -> Published:
        """What is tested and kept: the newest snapshot, or the average that the method keeps."""
        with self.moved:
            judged = self.hub.judged
            assert judged is not None, "no child has brought a vector yet"
            if judged is self.hub.vector:
                return self._publish()
            return self.hub.header(), [ray.put(judged.numpy())]

    def proceed(self) -> None:
        """Go on with what children did in the hub's memory, and with what its parent sent."""
        with self.moved:
            self.hub.proceed()
            self.moved.notify_all()

    def pass_up(self) -> None:
        """Wait until the center has all that children have brought here by now."""
        hub = self.hub
        if not isinstance(hub, Aggregator):
            return
        with self.moved:
            hub.proceed()
            if hub.tie is None:
                return
            clock = hub.hurry()
            self.moved.wait_for(lambda: hub.has_told(clock))
        hub.link.pass_up()

    def status(self) -> HubStatus:
        """The hub at a glance."""
        with self.moved:
            hub = self.hub
            hub.collect()
            return HubStatus(
                version=hub.version,
                steps=hub.steps,
                progress=hub.progress.copy(),
                lives=(hub.children,),
                moving_rate=hub.moving_rate,
                duplicates=hub.duplicates,
                refused=hub.refused,
                snapshots=self._num_published,
                num_parameters=0 if hub.vector is None else hub.vector.numel(),
                sharing=hub.num_places,
                why_alone=hub.why_alone,
                exchanges_per_s=self._measure_rate(),
            )

    def _measure_rate(self) -> float:
        now, count = time.monotonic(), self.hub.version.count
        if now - self._measured_at >= _MEASURE_S:
            self._rate = (count - self._measured) / (now - self._measured_at)
            self._measured, self._measured_at = count, now
        return self._rate

    def layout(self) -> tuple[Slot, ...]:
        """Of the whole vector; empty until a child has joined."""
        return self.hub.layout

    def take_trace(self) -> list[Record]:
        """What shaped the slice since the last time this was asked."""
        with self.moved:
            return self.hub.take_trace()

    def end_trace(self) -> tuple[list[Record], SnapshotHeader, list[Any]]:
        """The rest of the trace, and the vector that it leads to: one cut."""
        with self.moved:
            return self.hub.take_trace(), *self._publish()

    def ledger_error(self) -> float | None:
        """The edge ledger's relative gap; None where the ledger is off."""
        with self.moved:
            return self.hub.ledger_error()

    def close(self) -> None:
        """Let go of the shared memory."""
        with self.moved:
            self.hub.close()

    def _publish(self) -> Published:
        """Header and vector as one cut; the caller holds the lock.

        The header is renewed even where the vector is not: the moving rate follows joins.
        """
        header = self.hub.header()
        if self._published is None or self._published[0].version != header.version:
            vector = ray.put(self.hub.shown_vector().numpy())
            self._num_published += 1
            self._published = (header, [vector])
        return header, self._published[1]

    def _publish_coded(self, wire_format: WireFormat) -> PublishedCoded:
        header = self.hub.header()
        known = self._coded.get(wire_format)
        if known is None or known.header.version != header.version:
            known = self._coded[wire_format] = self._code(header, wire_format)
        return replace(known, header=header)

    def _code(self, header: SnapshotHeader, wire_format: WireFormat) -> PublishedCoded:
        from ray_easgd.codec import SharedBase

        base, base_ref = self._bases.setdefault(wire_format, (SharedBase(wire_format), []))
        vector, children = self.hub.shown_vector(), len(self.hub.children)
        if self.hub.num_places:
            vector = vector.clone()  # one base at both ends, whoever exchanges meanwhile
        out = base.publish(header.version, vector, children=children)
        self._num_published += 1
        if out.coded is None:
            base_ref[:] = [ray.put(vector.numpy())]
            return PublishedCoded(header, out.base, base_ref[:], [])
        return PublishedCoded(header, out.base, base_ref[:], [ray.put(out.coded)])


def open_slices(options: HubOptions, num: int) -> list[HubSlice]:
    """The hubs of one center, nobody in them yet."""
    return [HubSlice(SharedHub(options)) for _ in range(num)]


def take_memory(legacy: Legacy, hubs: Sequence[SharedHub]) -> None:
    """All slices of what a dead hub shared with the children of its node, or none.

    Raises SharedMemoryUnavailable.
    """
    with ExitStack() as opened:  # all of them before anything is taken over
        segments = [opened.enter_context(_first_open(each)) for each in legacy.addresses]
        for hub, segment, lives in zip(hubs, segments, legacy.lives, strict=True):
            hub.take_over(segment.address, legacy.layout, lives, born=legacy.youngest)


def _first_open(addresses: Sequence[Address]) -> Segment:
    """By one of several ways into one memory: a child may have gone since it was asked.

    Raises SharedMemoryUnavailable, with what is wrong with the last of them.
    """
    from ray_easgd.shared.segment import Segment, SharedMemoryUnavailable

    *others, last = addresses
    for address in others:
        with suppress(SharedMemoryUnavailable):
            return Segment.open(address)
    return Segment.open(last)
