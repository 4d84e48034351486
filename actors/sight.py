"""What the driver has seen of a run, and how it shows that."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median_low
from typing import TYPE_CHECKING

from actors.hub_status import HubStatus
from actors.words import Book, WorkerStatus
from ray_easgd.display import Progress, WorkerProgress
from ray_easgd.display.tree import TreeNode
from ray_easgd.divergence import DivergenceGuard
from ray_easgd.errors import LossBlewUp

if TYPE_CHECKING:
    from actors.evaluator import Evaluation


@dataclass
class Sight:
    """What the driver has seen last.

    ``behind``: steps of the learning rate's schedule that lay behind this sitting; ``left``: lives
    that were asked to leave.
    """

    behind: int = 0
    hub: HubStatus | None = None
    book: Book = field(default_factory=lambda: Book(opened=False))
    noted: list[WorkerStatus] = field(default_factory=list)
    final: dict[tuple[str, int], WorkerStatus] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    hubs: dict[str, HubStatus] = field(default_factory=dict)  # aggregators, where there are any
    reported: dict[str, float] = field(default_factory=dict)
    left: set[tuple[str, int]] = field(default_factory=set)
    _told_why: bool = False
    _guard: DivergenceGuard = field(default_factory=DivergenceGuard)
    _blew_up: bool = False

    def blew_up(self) -> LossBlewUp | None:
        """Once: what there is to say of a training loss that has blown up."""
        self._guard.see(self.mean_over_workers(lambda w: w.loss))
        if self._blew_up or not self._guard.diverged:
            return None
        self._blew_up = True
        return LossBlewUp(self._guard.last, self._guard.start)

    def why_messages(self) -> str:
        """Once: why workers on a hub's node exchange by messages; empty where they do not."""
        hubs = [self.hub, *self.hubs.values()] if self.hub and not self._told_why else []
        hub = next((hub for hub in hubs if hub and hub.why_alone), None)
        if hub is None:
            return ""
        self._told_why = True
        return (
            f"workers on the node of {hub.name} exchange through the object store: {hub.why_alone}"
        )

    @property
    def samples(self) -> int:
        return 0 if self.hub is None else self.hub.progress.num_distinct + self.repeated

    @property
    def epochs(self) -> list[dict[str, int]]:
        """What the center has seen of each epoch of the data."""
        if self.hub is None or not self.book.num_samples:
            return []
        return self.hub.progress.by_epoch(self.book.num_samples, self.book.total)

    @property
    def lives(self) -> list[WorkerStatus]:
        """Each life of each worker, by its last word."""
        return list(({(s.name, s.life): s for s in self.noted} | self.final).values())

    @property
    def workers(self) -> dict[str, WorkerStatus]:
        """The latest life of each worker."""
        return {status.name: status for status in sorted(self.lives, key=lambda s: s.life)}

    @property
    def schedule_clock(self) -> int:
        """Where a life that begins now enters the learning rate's schedule: the median of where
        the workers are by their newest words, of a lost one's last life too."""
        stepped = sorted((s for s in self.lives if s.step), key=lambda s: s.life)
        latest = {s.name: s for s in stepped}.values()
        there = [s for s in latest if (s.name, s.life) not in self.left] or latest
        return median_low([s.schedule_clock for s in there]) if there else self.behind

    @property
    def tested(self) -> Evaluation | None:
        """The newest test, unless the loss says that the center is not what was tested any more."""
        return None if self._guard.in_doubt or not self.evaluations else self.evaluations[-1]

    @property
    def val_accuracy(self) -> float | None:
        """The center's, when it was tested last."""
        return self.evaluations[-1].val_accuracy if self.evaluations else None

    @property
    def repeated(self) -> int:
        return 0 if self.hub is None else self.hub.progress.num_repeated

    @property
    def first_step_at(self) -> float | None:
        """Wall time of the first gradient step of the run."""
        return min((w.first_step_at for w in self.lives if w.first_step_at), default=None)

    def steps_of(self, name: str, life: int) -> int:
        """The gradient steps that one life of a worker is known to have taken."""
        return next((w.step for w in self.lives if (w.name, w.life) == (name, life)), 0)

    def size_of(self, name: str, life: int) -> str:
        """How far one life of a worker was from its hub when it last told, for a person."""
        told = (w.distance for w in self.lives if (w.name, w.life) == (name, life))
        distance = next(told, math.nan)
        return "" if math.isnan(distance) else f" (norm {distance:.3g} when it was last told)"

    def mean_over_workers(self, of: Callable[[WorkerStatus], float]) -> float | None:
        """The mean of a number over the workers that have one."""
        values = [v for v in map(of, self.workers.values()) if not math.isnan(v)]
        return sum(values) / len(values) if values else None

    @property
    def tree(self) -> tuple[TreeNode, ...]:
        """The center and the aggregators; empty where there are none."""
        if self.hub is None or not self.hubs:
            return ()
        return tuple(map(hub_node, (self.hub, *self.hubs.values())))

    def whole_tree(self, states: Mapping[str, str]) -> list[TreeNode]:
        """Hubs and workers as they were last; ``states`` of the workers as the fleet knows them."""
        hubs = self.tree or ((hub_node(self.hub),) if self.hub else ())
        rates = {node.name: node.moving_rate for node in hubs}
        workers = self.workers.values()
        return [*hubs, *(worker_node(w, rates, states.get(w.name, "left")) for w in workers)]

    def progress(
        self,
        states: Mapping[str, str],
        *,
        phase: str,
        time_s: float,
        training_s: float,
        target_seconds: float | None,
    ) -> Progress:
        """What the display shows; ``states`` of the workers as the fleet knows them."""
        last = self.evaluations[-1] if self.evaluations else None
        workers = self.workers
        return Progress(
            time_s=time_s,
            samples=self.samples,
            target_samples=self.book.total,
            target_seconds=target_seconds,
            version=self.hub.version.count if self.hub else 0,
            val_accuracy=last.val_accuracy if last else None,
            val_loss=last.val_loss if last else None,
            train_loss=self.mean_over_workers(lambda w: w.loss),
            samples_per_s=self.samples / training_s if training_s else 0.0,
            workers=tuple(_row(name, state, workers.get(name)) for name, state in states.items()),
            phase=phase,
            hubs=self.tree,
        )


def hub_node(hub: HubStatus) -> TreeNode:
    """A hub as a node of the tree that is drawn."""
    return TreeNode(
        name=hub.name,
        parent=hub.parent,
        version=hub.version.count,
        exchanges_per_s=hub.exchanges_per_s,
        moving_rate=hub.moving_rate,
        staleness=hub.staleness,
        distance=hub.distance,
    )


def worker_node(
    worker: WorkerStatus, rates: Mapping[str, float], state: str | None = None
) -> TreeNode:
    """A worker as a node; ``rates`` are the hubs' moving rates, by their names.

    ``state``: as the fleet knows it, else what the worker's own word tells.
    """
    hub = worker.hub or "center"
    period = worker.step / worker.exchanges if worker.exchanges else math.inf
    return TreeNode(
        name=worker.name,
        parent=hub,
        version=worker.step,
        exchanges_per_s=worker.steps_per_s / period,
        moving_rate=rates.get(hub, math.nan),
        staleness=worker.staleness,
        distance=worker.distance,
        state=_state(worker) if state is None else state,
        steps_per_s=worker.steps_per_s if worker.step else math.nan,
        loss=worker.loss,
        is_worker=True,
    )


def _state(worker: WorkerStatus) -> str:
    if worker.was_asked_to_end:
        return "leaving"
    return "training" if worker.step else "starting"


def _row(name: str, state: str, status: WorkerStatus | None) -> WorkerProgress:
    status = status or WorkerStatus(name=name, life=0, device="")
    if state == "training" and not status.step:
        state = "starting"
    return WorkerProgress(
        name=name,
        state=state,
        step=status.step,
        steps_per_s=status.steps_per_s,
        exchanges=status.exchanges,
        late=status.exchanges_late,
        staleness=status.staleness,
        distance=status.distance,
        loss=status.loss,
        device=status.device,
    )
