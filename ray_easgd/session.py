"""Inside a worker: the few verbs that a training loop needs. None of them is a barrier.

from ray_easgd import session

def train_loop(config):
    model = Net().to(session.device())
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    elastic = session.elastic(model, optimizer)
    for inputs, targets in session.data(dataset, batch_size=64):
        loss = loss_function(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        elastic.step(loss)
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ray_easgd.adaptive_period import Overheard, PeriodGovernor
from ray_easgd.algorithms.steps import LocalStep, TorchStep
from ray_easgd.belongings import Belongings
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.errors import BadData
from ray_easgd.link import Link
from ray_easgd.pacer import Pacer
from ray_easgd.parameters import ParameterVector
from ray_easgd.ports import Reporter
from ray_easgd.progress import merge
from ray_easgd.protocol import Interval
from ray_easgd.random_state import give_random, take_random
from ray_easgd.slices import Slices

if TYPE_CHECKING:
    from torch.optim import Optimizer


class RunEnded(BaseException):
    """Raised by ``elastic.step()`` when the run is over, to unwind a loop that has no end.

    Like KeyboardInterrupt it is no Exception, so that a loop's own handlers let it pass.
    """


class LeaseSource(Protocol):
    """Where a worker's data ranges come from."""

    def open(self, num_samples: int, batch_size: int, epochs: int) -> None:
        """Say what there is to hand out: ``epochs`` passes, counted from the run's beginning."""
        ...

    def next(self) -> Interval | None:
        """The next range that nobody else holds, or None."""
        ...

    def backup(self) -> Interval | None:
        """A range somebody holds unfinished, or None when there is nothing more to do."""
        ...

    def give_back(self, intervals: tuple[Interval, ...]) -> None:
        """Steps on these were dropped."""
        ...


@dataclass(kw_only=True)
class Session:
    """One worker's run: who it is, and its ports to the hub, the data and the record.

    ``links``: one for each slice of the vector, shard by shard. ``inherit``: asks for what a worker
    left that had to go. ``schedule_offset``: steps of a learning rate's schedule that lie behind.
    """

    name: str
    index: int
    seed: int
    options: ElasticOptions
    links: Sequence[Link]
    leases: LeaseSource
    reporter: Reporter
    shards: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 32
    datasets: Mapping[str, Any] = field(default_factory=dict)
    ended: Event = field(default_factory=Event)
    traced: bool = False
    pacer: Pacer | None = None
    governor: PeriodGovernor | None = None
    inherit: Callable[[], Belongings | None] = lambda: None
    tie: SessionElastic | None = None
    samples: int = 0
    schedule_offset: int = 0
    _epochs: int = 0
    first_step_at: float | None = None  # wall clock, seconds since 1970
    _yielded: list[Interval] = field(default_factory=list)
    _stepped: list[Interval] = field(default_factory=list)

    def elastic(
        self, model: nn.Module, optimizer: Optimizer | LocalStep | None = None
    ) -> SessionElastic:
        """Tie a model to the center, once. The model takes over the center's parameters."""
        if self.tie is not None:
            raise RuntimeError("session.elastic() was called already: a worker has one tie.")
        step = _as_step(optimizer)
        self.tie = SessionElastic(self, ParameterVector.bind(model), step)
        return self.tie

    def data(
        self, dataset: Any, *, batch_size: int | None = None, epochs: int = 1
    ) -> Iterator[Any]:
        """Batches of a map-style dataset, shared with the other workers through leases.

        Each sample of an epoch goes to one worker. Ends after ``epochs`` passes of the whole
        fleet, or as ``stop.samples`` and ``stop.seconds`` say where they are set. A dataset with a
        ``batch(positions)`` method is read by batches, others by item.
        """
        size = batch_size or self.batch_size
        self._epochs += epochs
        self.leases.open(_length(dataset), size, self._epochs)
        while not self.ended.is_set() and (lease := self._lease()) is not None:
            for interval in split_lease(lease, size):
                if self.ended.is_set():
                    return
                batch = read_batch(dataset, interval, self.seed)
                self._yielded.append(interval)
                yield _to(batch, self.device)

    def _lease(self) -> Interval | None:
        """A fresh range; at the end of the data, once all of ours is with the hub, a backup."""
        lease = self.leases.next()
        if lease is not None:
            return lease
        if self.tie is not None:
            self.tie.flush()
            self.tie.settle()
        return self.leases.backup()

    def report(self, metrics: Mapping[str, float]) -> None:
        """Record numbers of the user's own. Waits for nobody."""
        step = self.tie.clock if self.tie else 0
        self.reporter.report({k: float(v) for k, v in metrics.items()}, step=step)

    def step_boundary(self) -> None:
        """The batches yielded so far have been stepped on."""
        if self.first_step_at is None and self.tie is not None:
            self.first_step_at = time.time()
        self.samples += sum(len(interval) for interval in self._yielded)
        self._stepped.extend(self._yielded)
        self._yielded.clear()

    def take_progress(self) -> tuple[Interval, ...]:
        """What was stepped on since the last push, for the push to carry; traced, step by step."""
        taken, self._stepped = self._stepped, []
        return tuple(taken) if self.traced else merge(taken)

    def take_steps(self, clock: int) -> int:
        """A step is a tick of the clock."""
        return clock

    def give_back(self, intervals: tuple[Interval, ...]) -> None:
        """Steps on these were dropped: somebody has to take them again."""
        if intervals:
            self.leases.give_back(intervals)


class SessionElastic(Slices):
    """A worker's tie that also books the data its steps used, and ends with the run."""

    def __init__(
        self, session: Session, vector: ParameterVector, local_step: LocalStep | None
    ) -> None:
        self._session, governor, self._local_step = session, session.governor, local_step
        left = session.inherit() if session.options.algorithm.moves_house else None
        if left is not None and left.vector.shape != tuple(vector.flat.shape):
            left = None  # of another tie, in a loop with models of its own choice
        if left is not None:
            vector.load_(torch.from_numpy(left.vector))
        super().__init__(
            vector,
            session.links,
            session.options,
            Overheard(session.reporter, governor) if governor else session.reporter,
            shards=session.shards,
            name=session.name,
            local_step=local_step,
            data=session,
            stays=left is not None,
        )
        if left is not None:
            self._take_over(left)
        self.settle()

    @property
    def schedule_clock(self) -> int:
        """Steps of a learning rate's schedule that lie behind: this life's, and those before it.

        ``clock`` counts this life's alone.
        """
        return self._session.schedule_offset + self.clock

    def belongings(self) -> Belongings:
        """What another process needs to go on in this one's place."""
        state_of: Callable[[], dict[str, Any]] = getattr(self._local_step, "state_dict", dict)
        return Belongings(
            owner=self._session.name,
            vector=self.vector.flat.detach().cpu().numpy(),
            step=_saved(state_of()),  # a user's own step may have none
            random=_saved(take_random(self._session.device)),
            schedule_clock=self.schedule_clock,
        )

    def _take_over(self, left: Belongings) -> None:
        if self._local_step is not None and (state := _loaded(left.step)):
            self._local_step.load_state_dict(state)
        give_random(_loaded(left.random), self._session.device)
        self._session.schedule_offset = left.schedule_clock
        name = self._session.name
        self._session.reporter.event(
            "inherited",
            f"{name} goes on with what {left.owner} left: parameters, optimizer, random numbers",
        )

    def step(self, loss: Tensor | float | None = None) -> None:
        """Call after each optimizer step. Raises RunEnded, which the worker catches, at the end."""
        began = time.perf_counter()
        self._session.step_boundary()
        super().step(loss)
        self.settle()
        if (governor := self._session.governor) is not None:
            governor.spent(time.perf_counter() - began)
            if why := governor.decide():
                self.set_period(governor.period)
                who = f"{self._session.name} at step {self.clock}"
                self._session.reporter.event("period", f"{who}: {why}")
        self._session.reporter.stepped()
        if self._session.pacer is not None:
            self._session.pacer.wait(self._session.ended)
        if self._session.ended.is_set():
            raise RunEnded


_current: ContextVar[Session | None] = ContextVar("session", default=None)


@contextmanager
def use(active: Session) -> Iterator[Session]:
    """Make ``active`` the session that the verbs below speak to, in this thread."""
    token = _current.set(active)
    try:
        yield active
    finally:
        _current.reset(token)


def current() -> Session:
    """The session of the worker this code runs in; RuntimeError elsewhere."""
    active = _current.get()
    if active is None:
        raise RuntimeError(
            "there is no session here: session.* works inside train_loop_per_worker, which "
            "ElasticTrainer(train_loop_per_worker).fit() runs in its workers."
        )
    return active


def elastic(model: nn.Module, optimizer: Optimizer | LocalStep | None = None) -> SessionElastic:
    """Tie a model to the center, once; then call ``.step()`` after each optimizer step."""
    return current().elastic(model, optimizer)


def data(dataset: Any, *, batch_size: int | None = None, epochs: int = 1) -> Iterator[Any]:
    """Batches of a map-style dataset, each sample of an epoch at one worker."""
    return current().data(dataset, batch_size=batch_size, epochs=epochs)


def dataset(name: str = "train") -> Any:
    """One of the trainer's ``datasets``, for ``session.data``; BadData where there is none."""
    known = current().datasets
    if name not in known:
        remedy = f"Known: {', '.join(known) or 'none'}. Give ElasticTrainer(datasets={{...}})."
        raise BadData("session.dataset", name, "the trainer was given no such dataset", remedy)
    return known[name]


def report(metrics: Mapping[str, float]) -> None:
    """Record numbers of your own. Waits for nobody."""
    current().report(metrics)


def device() -> torch.device:
    """Where this worker computes: its GPU if it was given one and CUDA is there, else the CPU."""
    return current().device


def split_lease(lease: Interval, batch_size: int) -> list[Interval]:
    """A lease as batches of nearly equal size, none above ``batch_size``."""
    num_batches = -(-len(lease) // batch_size)
    edges = [lease.start + len(lease) * k // num_batches for k in range(num_batches + 1)]
    return [Interval(lease.epoch, a, b) for a, b in pairwise(edges)]


def worker_seed(seed: int, index: int, life: int) -> int:
    """Of torch's generator: different in each worker and each life, the same in each run."""
    return hash((seed, index, life)) % (2**63)


def _saved(state: Any) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _loaded(saved: bytes) -> Any:
    return torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)


def _as_step(optimizer: Any) -> LocalStep | None:
    """One of ``torch.optim`` is told by its groups, without importing that."""
    return TorchStep(optimizer) if hasattr(optimizer, "param_groups") else optimizer


def _length(dataset: Any) -> int:
    if isinstance(dataset, Sized):
        return len(dataset)
    if hasattr(dataset, "streaming_split"):
        raise TypeError(
            "a Ray dataset is executed once, by the driver: give it to "
            "ElasticTrainer(datasets={'train': ds}), and session.data(session.dataset('train'))."
        )
    raise TypeError(
        f"session.data takes a map-style dataset (with __len__ and __getitem__), "
        f"not {type(dataset).__name__}."
    )


def read_batch(dataset: Any, interval: Interval, seed: int) -> Any:
    """The samples at these positions of an epoch's order."""
    if hasattr(dataset, "batch"):
        order = dataset.order(seed, interval.epoch)
        return dataset.batch(order.positions(interval.start, interval.stop))
    order = _permutation(seed, interval.epoch, len(dataset))
    items = [dataset[int(k)] for k in order[interval.start : interval.stop]]
    return torch.utils.data.default_collate(items)


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)


def _to(batch: Any, device: torch.device) -> Any:
    if device.type == "cpu":
        return batch
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {k: _to(v, device) for k, v in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(_to(v, device) for v in batch)
    return batch
