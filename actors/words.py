"""What controller, workers and driver tell each other. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.posts import Hub, Sitting
from ray_easgd.progress import Progress
from ray_easgd.protocol import Interval

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.center import Center


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerStatus:
    """One life of a worker at a glance.

    ``first_step_at``: wall clock, seconds since 1970; ``hub``: the aggregator it is under, if any.
    ``exchange_s``: seconds that its exchanges were under way, in the background or in memory.
    ``was_asked_to_end``: by its machine, which is about to go. ``step`` counts this life's,
    ``schedule_clock`` also those of the learning rate's schedule that lay behind it.
    """

    name: str
    life: int
    device: str
    step: int = 0
    schedule_clock: int = 0
    samples: int = 0
    exchanges: int = 0
    exchanges_late: int = 0
    restarts: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    exchange_s: float = 0.0
    steps_per_s: float = 0.0
    loss: float = float("nan")
    distance: float = float("nan")
    staleness: float = float("nan")
    first_step_at: float | None = None
    hub: str = ""
    was_asked_to_end: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """What a worker reports: a number (``value``) or an event (``message``), at a wall time.

    ``user`` marks the numbers of ``session.report``.
    """

    at: float
    source: str
    name: str
    step: int = 0
    value: float | None = None
    message: str = ""
    user: bool = False
    details: Mapping[str, object] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Book:
    """The lease book at a glance; ``opened`` is False until a worker has asked for data.

    ``remembers`` is False of a controller that died and has not been told what it knew; ``wanted``
    is how many workers somebody has asked for since the run began, ``stopped`` whether its end.
    ``held``: leases that somebody has, ``returned``: ranges of the lost that wait for somebody.
    ``epoch``: of the center whose word it follows, that of all shards added up.
    """

    opened: bool
    done: bool = False
    missed: int = 0
    total: int | None = None
    num_samples: int = 0
    batch_size: int = 0
    held: int = 0
    returned: int = 0
    remembers: bool = True
    wanted: int | None = None
    stopped: bool = False
    epoch: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Census:
    """Who belongs to a run: the center's shards, aggregators, and the workers that are not gone."""

    centers: tuple[ActorProxy[Center], ...]
    hubs: tuple[Hub, ...]
    workers: tuple[WorkerStatus, ...]
    total_samples: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What a controller that died is told again, by its driver.

    ``hubs``: where the center and the aggregators are; ``held``: the leases that workers have.
    """

    hubs: tuple[Hub, ...]
    workers: tuple[WorkerStatus, ...]
    book: Book
    progress: Progress
    held: Mapping[Sitting, tuple[Interval, ...]]
