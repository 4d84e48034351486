"""The center's process: a mailbox for one hub, or for several where the vector travels in slices.

Three concurrency groups: ``data`` moves vectors, ``control`` answers joins and status, so that a
question never queues behind a push, and ``rounds`` holds the calls of children that wait for
others. Calls run in any order: a pull does not wait for the vector that a push before it is still
fetching.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any

import ray

from actors.hub_status import HubStatus, joined
from actors.lifecycle import Named, actor_name, as_actor
from actors.placement import placed
from actors.posts import center_name

if TYPE_CHECKING:  # Ray imports this module wherever a handle arrives: without torch
    import numpy as np
    from ray.actor import ActorProxy

    from actors.hub_slice import HubSlice, Published, PublishedCoded
    from actors.succession import Legacy
    from ray_easgd.codec import Coded
    from ray_easgd.hub import HubOptions
    from ray_easgd.parameters import Slot
    from ray_easgd.progress import Progress
    from ray_easgd.protocol import Interval, PushHeader, PushReply, SnapshotHeader, WireFormat
    from ray_easgd.saved_hub import SavedHub
    from ray_easgd.shared_hub import Place
    from ray_easgd.trace import Record

_MOST_WAITING = 512


class Center(Named):
    """The actor that holds the center variable, or one shard of it.

    ``part`` is the slice a call is about, 0 where the vector travels whole. A successor
    (``life`` above 1) lets nobody join or leave until it has taken up what its predecessor left.
    """

    def __init__(
        self,
        run: str,
        options: HubOptions,
        fragments: int = 1,
        wire_format: WireFormat = "float32",
        life: int = 1,
    ) -> None:
        from actors.hub_slice import open_slices
        from actors.process import load_loops, settle_in
        from ray_easgd.wire import warm_up

        settle_in()
        load_loops()
        warm_up(wire_format)  # or the children's first exchanges would all be late
        self._open(run, open_slices(options, fragments))
        if life > 1:
            self._in_office.clear()

    def _open(self, run: str, slices: list[HubSlice]) -> None:
        self._run, self._slices = run, slices
        self._node = ray.get_runtime_context().get_node_id()
        self._in_office = Event()
        self._in_office.set()

    @ray.method(concurrency_group="data")
    def begin(self, options: HubOptions) -> None:
        """Start over with new hubs: a process may serve several runs, one after another."""
        from actors.hub_slice import open_slices

        for part in self._slices:
            part.close()
        self._slices = open_slices(options, len(self._slices))

    @ray.method(concurrency_group="control")
    def join(
        self,
        child: str,
        vector: np.ndarray,
        layout: Sequence[Slot],
        part: int = 0,
        near: str | None = None,
    ) -> tuple[int, SnapshotHeader, list[ray.ObjectRef[np.ndarray]], Place | None]:
        """Admit a child's new life: its incarnation, and the center as it is.

        ``near`` is the node of a child that could exchange in the hub's own memory; where that is
        ours it gets a place there instead of a snapshot.
        """
        self._in_office.wait()
        return self._slices[part].join(child, vector, layout, is_near=near == self._node)

    @ray.method(concurrency_group="control")
    def leave(self, incarnation: int, part: int, intervals: tuple[Interval, ...]) -> None:
        """A child's goodbye, with the data that nothing else has carried."""
        self._in_office.wait()
        self._slices[part].leave(incarnation, intervals)

    @ray.method(concurrency_group="control")
    def lose(self, child: str, lives: Sequence[Sequence[int]]) -> list[int]:
        """A child's process is gone: these lives of it end, slice by slice; late pushes of theirs
        are refused."""
        self._in_office.wait()
        parts = zip(self._slices, lives, strict=True)
        return [life for part, its in parts for life in part.lose(child, its)]

    @ray.method(concurrency_group="control")
    def collect(self, part: int) -> None:
        """Read what children exchanged in the hub's memory."""
        self._slices[part].proceed()

    @ray.method(concurrency_group="rounds")
    def pass_up(self, part: int) -> None:
        """Wait until the center has what children have brought here by now."""
        self._slices[part].pass_up()

    @ray.method(concurrency_group="control")
    def where(self) -> str:
        """The id of its node."""
        return str(self._node)

    @ray.method(concurrency_group="watch")
    def watch(self) -> None:
        """Ends with the process: whoever asks learns of its death."""
        Event().wait()

    @ray.method(concurrency_group="pulse")
    def ping(self) -> None:
        """Answers, whatever else is waited for here."""

    @ray.method(concurrency_group="control")
    def status(self) -> HubStatus:
        """The hub at a glance."""
        return self._status()

    def _status(self) -> HubStatus:
        return joined([part.status() for part in self._slices])

    @ray.method(concurrency_group="control")
    def layout(self) -> tuple[Slot, ...]:
        """Where each named parameter lies in the vector; empty until a child has joined."""
        self._in_office.wait()
        return self._slices[0].layout()

    @ray.method(concurrency_group="control")
    def take_trace(self) -> list[Record]:
        """What shaped the center since the last time this was asked."""
        return self._slices[0].take_trace()

    @ray.method(concurrency_group="control")
    def end_trace(self) -> tuple[list[Record], SnapshotHeader, list[ray.ObjectRef[np.ndarray]]]:
        """What shaped the center since then, and the center that it led to, as one cut."""
        return self._slices[0].end_trace()

    @ray.method(concurrency_group="control")
    def ledger_error(self) -> float | None:
        """The edge ledger's relative gap, of the worst slice; None where the ledger is off."""
        gaps = [part.ledger_error() for part in self._slices]
        return max((gap for gap in gaps if gap is not None), default=None)

    @ray.method(concurrency_group="data")
    def push(self, header: PushHeader, d: np.ndarray | Coded, part: int) -> PushReply:
        """Apply one elastic difference, exactly once."""
        return self._slices[part].push(header, d)

    @ray.method(concurrency_group="data")
    def pull(self, part: int) -> Published:
        """The newest snapshot of a slice. One put per version, however many pull it."""
        return self._slices[part].pull()

    @ray.method(concurrency_group="data")
    def pull_coded(self, part: int, wire_format: WireFormat) -> PublishedCoded:
        """The same, as a difference to a base that all children share."""
        return self._slices[part].pull_coded(wire_format)

    @ray.method(concurrency_group="rounds")
    def pull_shown(
        self, incarnation: int, sequence: int, part: int, wire_format: WireFormat
    ) -> Published | PublishedCoded:
        """The snapshot this child waits for: one that shows its push, in its turn.

        However many wait here, pushes come in by another group, so the calls queued behind are
        served in time.
        """
        return self._slices[part].pull_shown(incarnation, sequence, wire_format)

    @ray.method(concurrency_group="data")
    def save(self) -> list[SavedHub]:
        """All that the slices are, for a checkpoint."""
        return [part.save() for part in self._slices]

    @ray.method(concurrency_group="data")
    def resume(self, saved: Sequence[SavedHub], layout: Sequence[Slot]) -> None:
        """Go on from a checkpoint; nobody has joined yet."""
        for part, hub in zip(self._slices, saved, strict=True):
            part.resume(hub, layout)
        self._in_office.set()

    @ray.method(concurrency_group="data")
    def start_anew(self, epoch: int) -> None:
        """Nothing is left of the center before: the first child's vector will be this one's."""
        for part in self._slices:
            part.start_anew(epoch)
        self._in_office.set()

    @ray.method(concurrency_group="data")
    def take_over(self, legacy: Legacy, steps: int, *words: Progress | None) -> str:
        """Go on with the memory of the center before; why not, if it cannot.

        ``words`` and ``steps``: what that had told of the data and the steps behind its vector.
        """
        from actors.hub_slice import take_memory
        from ray_easgd.shared.segment import SharedMemoryUnavailable

        with ExitStack() as whole:
            for part in self._slices:
                whole.enter_context(part.moved)
            try:
                take_memory(legacy, [part.hub for part in self._slices])
            except SharedMemoryUnavailable as error:
                return str(error)
            first = self._slices[0].hub
            first.steps = max(first.steps_in_place, steps)
            for progress in filter(None, words):
                first.progress.learn(progress)
        self._in_office.set()
        return ""

    @ray.method(concurrency_group="data")
    def recover(
        self, name: str, legacy: Legacy, epoch: int, born: int, told: HubStatus | None
    ) -> str:
        """Go on from the newest that children of the center before, of that ``name``, hold of each
        slice; why not, if they cannot be asked any more.

        ``told``: what that center had said of itself, where it is behind all they hold.
        """
        from actors.succession import kept

        found = [kept(keepers, name, part) for part, keepers in enumerate(legacy.keepers)]
        held = [one for one in found if one is not None]
        if len(held) < len(found):
            return "no child that had anything of it answers any more"
        for part, snapshot, lives in zip(self._slices, held, legacy.afar, strict=True):
            part.recover(snapshot, legacy.layout, lives, epoch=epoch, born=born)
        is_whole = all(
            header.version >= version
            for (header, _), version in zip(held, legacy.versions, strict=True)
        )
        if told is not None and is_whole:  # else somebody older had to be asked
            first = self._slices[0].hub
            first.steps = max(first.steps, told.steps)
            first.progress.learn(told.progress)
        self._in_office.set()
        return ""

    @ray.method(concurrency_group="data")
    def pull_judged(self) -> Published:
        """What is tested and kept, all slices of it, with the header of the first."""
        parts = [part.pull_judged() for part in self._slices]
        samples = sum(header.samples for header, _ in parts)
        header = replace(parts[0][0], samples=samples)
        return header, [reference for _, references in parts for reference in references]


def num_waiting(num_edges: int) -> int:
    """Threads for so many edges to wait in. Ray starts all of them with the process."""
    return min(_MOST_WAITING, max(16, 2 * num_edges))


def groups(num_children: int, fragments: int) -> dict[str, int]:
    """A hub's concurrency groups.

    Every child may wait for its turn in a thread of ``rounds``, with room for twice as many as are
    expected: whose turn it is must not queue behind those who come later. ``asked`` is for what an
    aggregator holds of a hub that is lost, while its own goodbyes to that hub wait in ``control``.
    """
    waiting = num_waiting(num_children * fragments)
    return {"control": 2, "data": 1, "asked": 1, "rounds": waiting, "watch": 1, "pulse": 1}


def start_center(
    run: str,
    options: HubOptions,
    num_children: int = 16,
    fragments: int = 1,
    shard: int = 0,
    wire_format: WireFormat = "float32",
    life: int = 1,
    **where: Any,
) -> ActorProxy[Center]:
    """Start the center's actor, or one ``shard`` of it; the policy of placement says where, or
    else these actor options.

    ``life`` counts the processes that were it. ``max_restarts=0``: a restarted actor would come
    back empty and be mistaken for the center; a successor takes up what is left instead.
    ``max_task_retries=0``: children number and replay their pushes themselves.
    """
    return as_actor(
        Center,
        name=actor_name(run, center_name(shard), life),
        concurrency_groups=groups(num_children, fragments),
        num_cpus=0,
        max_restarts=0,
        max_task_retries=0,
        allow_out_of_order_execution=True,
        **(where or placed("shard" if shard else "center")),
    ).remote(run, options, fragments, wire_format, life)
