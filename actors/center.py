"""The center's process: a mailbox for the hub, and its published snapshots.

Three concurrency groups: ``data`` moves vectors, ``control`` answers joins and status, so that a
question never queues behind a push, and ``rounds`` holds the calls of children that wait for
others. One lock makes each call on the hub atomic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import torch

from actors.lifecycle import as_actor
from actors.process import settle_in
from ray_easgd.hub import Hub, HubOptions
from ray_easgd.parameters import Slot
from ray_easgd.progress import Progress
from ray_easgd.protocol import PushHeader, PushReply, SnapshotHeader, Version
from ray_easgd.trace import Record

if TYPE_CHECKING:
    from ray.actor import ActorProxy

Published = tuple[SnapshotHeader, list[Any]]
"""A snapshot's header, and one ObjectRef to its vector of shape (n,). In a list, so that Ray
hands the reference on instead of fetching the vector."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubStatus:
    """A hub at a glance."""

    version: Version
    steps: int
    progress: Progress
    children: dict[int, str]
    moving_rate: float
    duplicates: int
    refused: int
    snapshots: int
    num_parameters: int


class Center:
    """The actor that holds the center variable."""

    def __init__(self, run: str, options: HubOptions) -> None:
        settle_in()
        self._run = run
        self._lock = Lock()
        self._moved = Condition(self._lock)
        self._begin(options)

    def __repr__(self) -> str:
        return f"Center({self._run})"

    @ray.method(concurrency_group="data")
    def begin(self, options: HubOptions) -> None:
        """Start over with a new hub: a process may serve several runs, one after another."""
        with self._lock:
            self._begin(options)

    @ray.method(concurrency_group="control")
    def join(
        self, child: str, vector: np.ndarray, layout: Sequence[Slot]
    ) -> tuple[int, SnapshotHeader, list[Any]]:
        """Admit a child's new life: its incarnation, and the center as it is."""
        with self._lock:
            incarnation = self._hub.admit(child, torch.from_numpy(vector), layout)
            self._moved.notify_all()  # a turn may begin with it
            return incarnation, *self._publish()

    @ray.method(concurrency_group="control")
    def leave(self, incarnation: int) -> None:
        """A child's goodbye."""
        with self._lock:
            self._hub.dismiss(incarnation)
            self._moved.notify_all()

    @ray.method(concurrency_group="control")
    def lose(self, child: str) -> list[int]:
        """A child's process is gone: its lives end here, and late pushes of theirs are refused."""
        with self._lock:
            lives = [i for i, name in self._hub.children.items() if name == child]
            for incarnation in lives:
                self._hub.dismiss(incarnation, lost=True)
            self._moved.notify_all()
            return lives

    @ray.method(concurrency_group="control")
    def status(self) -> HubStatus:
        """The hub at a glance."""
        with self._lock:
            hub = self._hub
            return HubStatus(
                version=hub.version,
                steps=hub.steps,
                progress=hub.progress.copy(),
                children=hub.children,
                moving_rate=hub.moving_rate,
                duplicates=hub.duplicates,
                refused=hub.refused,
                snapshots=self._num_published,
                num_parameters=0 if hub.vector is None else hub.vector.numel(),
            )

    @ray.method(concurrency_group="control")
    def layout(self) -> tuple[Slot, ...]:
        """Where each named parameter lies in the vector; empty until a child has joined."""
        return self._hub.layout

    @ray.method(concurrency_group="control")
    def take_trace(self) -> list[Record]:
        """What shaped the center since the last time this was asked."""
        with self._lock:
            return self._hub.take_trace()

    @ray.method(concurrency_group="control")
    def ledger_error(self) -> float | None:
        """The edge ledger's relative gap; None where the ledger is off."""
        with self._lock:
            return self._hub.ledger_error()

    @ray.method(concurrency_group="data")
    def push(self, header: PushHeader, d: np.ndarray) -> PushReply:
        """Apply one elastic difference, exactly once."""
        with self._lock:
            reply = self._hub.apply(header, torch.from_numpy(d))
            self._moved.notify_all()
            return reply

    @ray.method(concurrency_group="data")
    def pull(self) -> Published:
        """The newest snapshot. One put per version, however many pull it."""
        with self._lock:
            return self._publish()

    @ray.method(concurrency_group="rounds")
    def pull_shown(self, incarnation: int, sequence: int) -> Published:
        """The snapshot this child waits for: one that shows its push, in its turn.

        It wakes with each push, goodbye and loss, so a dead child holds nobody up. However many
        wait here, pushes come in by another group, so the calls queued behind are served in time.
        """
        with self._moved:
            self._moved.wait_for(lambda: self._hub.shows(incarnation, sequence))
            return self._publish()

    @ray.method(concurrency_group="data")
    def pull_judged(self) -> Published:
        """What is tested and kept: the newest snapshot, or the average that the method keeps."""
        with self._lock:
            if self._hub.judged is self._hub.vector:
                return self._publish()
            judged = self._hub.judged
            assert judged is not None, "no child has brought a vector yet"
            return self._hub.header(), [ray.put(judged.numpy())]

    def _begin(self, options: HubOptions) -> None:
        self._hub = Hub(options)
        self._published: Published | None = None
        self._num_published = 0

    def _publish(self) -> Published:
        """Header and vector as one cut; the caller holds the lock.

        The header is renewed even where the vector is not: the moving rate follows joins.
        """
        header = self._hub.header()
        if self._published is None or self._published[0].version != header.version:
            assert self._hub.vector is not None, "no child has brought a vector yet"
            vector = ray.put(self._hub.vector.numpy())
            self._num_published += 1
            self._published = (header, [vector])
        return header, self._published[1]


def start_center(run: str, options: HubOptions, *, num_children: int = 16) -> ActorProxy[Center]:
    """Start the center's actor.

    Every child may wait for its turn in a thread of ``rounds``, with room for twice as many as are
    expected: whose turn it is must not queue behind those who come later.

    ``max_restarts=0``: a restarted actor would come back empty and be mistaken for the center.
    ``max_task_retries=0``: children number and replay their pushes themselves.
    """
    return as_actor(
        Center,
        name=f"{run}:center",
        concurrency_groups={"control": 2, "data": 1, "rounds": max(16, 2 * num_children)},
        num_cpus=0,
        max_restarts=0,
        max_task_retries=0,
    ).remote(run, options)
