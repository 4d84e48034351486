"""Run a recorded trace again: the same workers, the same center, to the bit.

Each life takes the steps it took, on the batches it took them on, meets the center at the clock it
did, with the version it had; the hub applies the pushes in the order it did. The objects are those
that ran: ``Hub``, ``Elastic``, the local step, the loop's own step. The first push whose checksum
is not the recorded one is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ray_easgd.config import Config
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.errors import BadStorage
from ray_easgd.hub import Hub, options_for
from ray_easgd.link import Snapshot
from ray_easgd.loop import make_local_step, take_step
from ray_easgd.parameters import ParameterVector, Slot
from ray_easgd.ports import Silent
from ray_easgd.protocol import Interval, PushHeader, PushReply, SnapshotHeader, Version
from ray_easgd.recipe import algorithm_of, order_of
from ray_easgd.session import read_batch, worker_seed
from ray_easgd.simulator.virtual_run import OnProgress, simulate
from ray_easgd.task import OpenTask, Task
from ray_easgd.trace import Joined, Left, Pushed, Trace, fingerprint, read_trace
from ray_easgd.wire import Payload


def replay(path: str, *, on_progress: OnProgress | None = None) -> dict[str, Any]:
    """Run the trace at ``path`` again; ``same_center`` says whether it ended in the same bits.

    Raises BadStorage for what is no trace, or one that cannot be run again (a loop of the user's
    own, a worker that started anew from non-finite numbers), and says so.
    """
    trace = read_trace(path)
    config, astray = Config.build(trace.config), None
    if trace.kind == "simulated":
        again = simulate(config, on_progress=on_progress)["center_sha256"]
    elif trace.kind == "task":
        run = _Replay(path, trace, config)
        again, astray = fingerprint(run.run(on_progress)), run.first_difference
    else:
        raise _cannot(path, "it is of a loop of your own, which the trace does not hold")
    return {
        "trace": path,
        "kind": trace.kind,
        "algorithm": config.algorithm.name,
        "pushes": sum(isinstance(record, Pushed) for record in trace.records),
        "center_sha256": again,
        "recorded_sha256": trace.center_sha256,
        "same_center": again == trace.center_sha256,
        "first_difference": astray,
    }


class _Replay:
    """The center, its past snapshots as long as somebody will need them, and the lives."""

    def __init__(self, path: str, trace: Trace, config: Config) -> None:
        self.config, self.algorithm = config, algorithm_of(config)
        self._path, self._records = path, trace.records
        section = config.algorithm
        self._hub = Hub(
            options_for(
                self.algorithm,
                beta=section.beta,
                fixed_rate=section.moving_rate,
                average="none",
                staleness_power=section.staleness_power,
            )
        )
        self._lives: dict[int, _Life] = {}
        self._births: Counter[str] = Counter()
        self._needed = Counter(
            r.header.computed_from for r in trace.records if isinstance(r, Pushed)
        )
        self._past: dict[Version, Snapshot] = {}
        self.first_difference: str | None = None

    def run(self, on_progress: OnProgress | None) -> Tensor:
        """All records, in order; the center they end in."""
        torch.set_num_threads(1)  # as workers do: a sum over threads has other bits
        for k, record in enumerate(self._records):
            if isinstance(record, Joined):
                self._join(record)
            elif isinstance(record, Left):
                self._hub.dismiss(record.incarnation, lost=record.lost)
            else:
                self._push(record)
            if on_progress is not None:
                share = (k + 1) / len(self._records)
                on_progress(share, f"{self._hub.version.count:,} pushes")
        if self._hub.vector is None:
            raise _cannot(self._path, "nobody ever joined")
        return self._hub.vector

    @property
    def version(self) -> Version:
        """Of the center by now."""
        return self._hub.version

    def snapshot(self, header: PushHeader) -> Snapshot:
        """The center that a push was computed from, with the rate that came with it."""
        past = self._past[header.computed_from]
        self._needed[header.computed_from] -= 1
        if not self._needed[header.computed_from]:
            del self._past[header.computed_from]
        known = past.header
        return Snapshot(
            SnapshotHeader(
                version=known.version, moving_rate=header.moving_rate, applied=known.applied
            ),
            past.vector,
        )

    def _join(self, record: Joined) -> None:
        self._births[record.child] += 1
        pushes = [
            r.header
            for r in self._records
            if isinstance(r, Pushed) and r.header.incarnation == record.incarnation
        ]
        _check(self._path, pushes)
        index = int(record.child.rpartition("-")[2])
        seed = worker_seed(self.config.seed, index, self._births[record.child])
        link = _ReplayLink(self, record.child, pushes)
        self._lives[record.incarnation] = _Life(self, link, seed)

    def _push(self, record: Pushed) -> None:
        header, d = self._lives[record.header.incarnation].advance(record.header)
        if header.checksum != record.header.checksum and self.first_difference is None:
            self.first_difference = (
                f"push {header.sequence} of incarnation {header.incarnation}, which made version "
                f"{record.version}"
            )
        self._hub.apply(header, d)
        self._keep()

    def _keep(self) -> None:
        if self._needed[self._hub.version]:
            self._past[self._hub.version] = self._hub.snapshot()

    def admit(self, child: str, vector: Tensor, layout: Sequence[Slot]) -> tuple[int, Snapshot]:
        """A life joins the center as it is."""
        incarnation = self._hub.admit(child, vector, layout)
        self._keep()
        return incarnation, self._hub.snapshot()


class _Life:
    """One life of a worker: its model, its optimizer, its tie, and torch's generator as it was."""

    def __init__(self, replay: _Replay, link: _ReplayLink, seed: int) -> None:
        config = replay.config
        torch.manual_seed(seed)
        self._task: OpenTask = Task().open(config)
        self._model = self._task.build_model()
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        self._step = make_local_step(parameters, config)
        self._schedule = config.optimizer.schedule.build()
        options = ElasticOptions(
            algorithm=replay.algorithm,
            period=config.algorithm.period or replay.algorithm.period,
            order=order_of(config, replay.algorithm),
            ledger_seed=config.seed,
        )
        vector = ParameterVector.bind(self._model)
        self._tie = Elastic(vector, link, options, Silent(), local_step=self._step)
        self._link, self._seed = link, config.seed
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
        self._step.set_lr(self._schedule(self._tie.clock))
        loss = take_step(self._model, self._step, self._task.loss, inputs, targets)
        self._link.clock = self._tie.clock + 1
        self._tie.step(loss)


class _ReplayLink:
    """Brings a life each center at the clock at which it took it in, and never before."""

    def __init__(self, replay: _Replay, child: str, pushes: list[PushHeader]) -> None:
        self._replay, self._child = replay, child
        self._coming, self._due = pushes[::-1], [header.clock for header in pushes[::-1]]
        self.clock = 0
        self.desk, self.orphaned = None, False
        self.sent: tuple[PushHeader, Payload] | None = None
        self._asked = False

    def begun(self) -> None:
        """What the first push was computed from came with the join, unless it is asked for."""
        if self._coming and self._coming[-1].taken_at == 0 and not self._asked:
            self._replay.snapshot(self._coming.pop())

    def join(
        self, vector: Tensor, layout: Sequence[Slot], *, ledger_seed: int | None = None
    ) -> tuple[int, Snapshot]:
        return self._replay.admit(self._child, vector, layout)

    def pull(self, showing: int | None = None) -> None:
        self._asked = True

    def pulled(self) -> Snapshot | None:
        if not self._asked or not self._coming or self._coming[-1].taken_at != self.clock:
            return None
        if self._coming[-1].computed_from > self._replay.version:
            return None  # it will, when others have pushed
        self._asked = False
        return self._replay.snapshot(self._coming.pop())

    def push(self, header: PushHeader, d: Payload) -> None:
        self._due.pop()
        self.sent = (header, d)

    def take_sent(self) -> tuple[PushHeader, Payload]:
        """The push that was just made."""
        assert self.sent is not None
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


def _check(path: str, pushes: list[PushHeader]) -> None:
    """Only what is known step by step can be taken again."""
    before = 0
    for header in pushes:
        if header.clock - before != header.steps or len(header.progress) != header.steps:
            raise _cannot(
                path,
                f"push {header.sequence} of incarnation {header.incarnation} does not tell all the "
                "steps before it: its worker started again under way",
            )
        before = header.clock


def _cannot(path: str, problem: str) -> BadStorage:
    return BadStorage("--replay", path, problem, "It cannot be run again; its records can be read.")
