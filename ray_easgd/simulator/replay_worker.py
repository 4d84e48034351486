"""A worker run again: the steps it took, on the batches it took them on, and each push."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ray_easgd.config import Config
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.link import Snapshot
from ray_easgd.loop import make_local_step, take_step
from ray_easgd.parameters import ParameterVector, Slot
from ray_easgd.ports import Silent
from ray_easgd.protocol import Interval, PushHeader, PushReply
from ray_easgd.session import read_batch
from ray_easgd.simulator.replay_hubs import ReplayedHub, cannot
from ray_easgd.task import OpenTask, Task
from ray_easgd.wire import Payload


class ReplayedWorker:
    """One life of a worker: its model, its optimizer, its tie, and torch's generator as it was."""

    def __init__(
        self,
        config: Config,
        options: ElasticOptions,
        link: WorkerLink,
        seed: int,
        *,
        schedule_offset: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self._task: OpenTask = Task().open(config)
        self._model = self._task.build_model()
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        self._step = make_local_step(parameters, config)
        self._schedule = config.optimizer.schedule.build()
        vector = ParameterVector.bind(self._model)
        self._tie = Elastic(vector, link, options, Silent(), local_step=self._step)
        self._link, self._seed, self._offset = link, config.seed, schedule_offset
        link.begun()
        self._model.train()
        self._random = torch.get_rng_state()

    def advance(self, header: PushHeader) -> tuple[PushHeader, Payload]:
        """Take the steps up to a push, and that push."""
        torch.set_rng_state(self._random)
        self._tie.proceed()  # what it had to wait for at its last boundary
        for interval in header.progress:
            self._take_step(interval)
        if self._link.sent is None:
            self._tie.flush()  # the data had ended before the exchange was due
        self._random = torch.get_rng_state()
        return self._link.take_sent()

    def _take_step(self, interval: Interval) -> None:
        inputs, targets = read_batch(self._task.data.train, interval, self._seed)
        self._step.set_lr(self._schedule(self._offset + self._tie.clock))
        loss = take_step(self._model, self._step, self._task.loss, inputs, targets)
        self._link.clock = self._tie.clock + 1
        self._tie.step(loss)


class WorkerLink:
    """Brings a life each center at the clock at which it took it in, and never before."""

    def __init__(self, hub: ReplayedHub, child: str, pushes: list[PushHeader]) -> None:
        self._hub, self._child = hub, child
        self._coming, self._due = pushes[::-1], [header.clock for header in pushes[::-1]]
        self.clock = 0
        self.desk, self.orphaned = None, False
        self.sent: tuple[PushHeader, Payload] | None = None
        self._asked = False

    def begun(self) -> None:
        """What the first push was computed from came with the join, unless it is asked for."""
        if self._coming and self._coming[-1].taken_at == 0 and not self._asked:
            self._hub.snapshot(self._coming.pop())

    def join(
        self, vector: Tensor, layout: Sequence[Slot], *, ledger_seed: int | None = None
    ) -> tuple[int, Snapshot]:
        return self._hub.admit(self._child, vector, layout)

    def pull(self, showing: int | None = None) -> None:
        self._asked = True

    def pulled(self) -> Snapshot | None:
        if not self._asked or not self._coming or self._coming[-1].taken_at != self.clock:
            return None
        if self._coming[-1].computed_from > self._hub.hub.version:
            return None  # it will, when others have pushed
        self._asked = False
        return self._hub.snapshot(self._coming.pop())

    def push(self, header: PushHeader, d: Payload) -> None:
        self._due.pop()
        self.sent = (header, d)

    def take_sent(self) -> tuple[PushHeader, Payload]:
        """The push that was just made."""
        if self.sent is None:
            raise cannot(
                self._hub.replay.path,
                f"{self._child} comes to no push where {self._hub.name} took one: a hub was lost "
                "in the run, and what it had recorded with it",
            )
        sent, self.sent = self.sent, None
        return sent

    def replies(self) -> list[PushReply]:
        return []

    @property
    def busy(self) -> bool:
        """Until the clock at which the next push was made: an answer may have come before."""
        return not self._due or self._due[-1] != self.clock

    def drain(self, *, pulls: bool = True) -> None:
        """Nothing is ever under way."""

    def tell(self) -> None:
        """There is no desk."""

    def pass_up(self) -> None:
        """Nobody asks where the data is."""

    def leave(self) -> None:
        """The trace says when."""


def check(path: str, pushes: list[PushHeader]) -> None:
    """Only what is known step by step can be taken again."""
    before = 0
    for header in pushes:
        if header.clock - before != header.steps or len(header.progress) != header.steps:
            raise cannot(
                path,
                f"push {header.sequence} of incarnation {header.incarnation} does not tell all the "
                "steps before it: its worker started again under way",
            )
        before = header.clock
