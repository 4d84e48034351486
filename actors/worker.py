"""A worker's process: runs a training loop in a session whose ports lead to the other actors."""

from __future__ import annotations

import inspect
import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import ray
import torch
from ray.exceptions import RayError

from actors.asking import find_in
from actors.glance import glance, place_of
from actors.journaled import journaled, open_journal
from actors.lifecycle import Named, actor_name, as_actor
from actors.links import HubLink, Tell, open_link
from actors.placement import placed
from actors.ports import ControllerReporter, LeaseFeed
from actors.posts import Hub, Sitting, center_name
from actors.process import choose_device, settle_in
from actors.succession import Holding, holdings, newest
from actors.words import WorkerStatus
from ray_easgd.adaptive_period import PeriodGovernor
from ray_easgd.algorithms import Algorithm
from ray_easgd.config import Config
from ray_easgd.doctor.evidence import ChildLook
from ray_easgd.edges import tie_options
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.loop import make_local_step, train_task
from ray_easgd.pacer import Pacer
from ray_easgd.protocol import Interval, SnapshotHeader
from ray_easgd.session import RunEnded, Session, use, worker_seed
from ray_easgd.task import Task
from ray_easgd.wire import warm_up

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.center import Center
    from actors.controller import Controller
    from ray_easgd.journal import Journal


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a worker runs: a task in the built-in loop, or the user's own loop with ``datasets``."""

    task: Task | None = None
    loop: Callable[..., object] | None = None
    loop_config: Mapping[str, Any] | None = None
    datasets: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One worker's place in a run. ``life`` counts the processes that have sat there.

    ``centers`` holds more than one where the center is sharded; ``center_lives`` counts the
    processes that were each of them. ``schedule_offset``: steps of the learning rate's schedule
    that lie behind those at work.
    """

    name: str
    index: int
    life: int
    config: Config
    algorithm: Algorithm
    program: Program
    centers: tuple[ActorProxy[Center], ...]
    controller: ActorProxy[Controller]
    center_lives: tuple[int, ...] = (1,)
    traced: bool = False
    schedule_offset: int = 0

    @property
    def sitting(self) -> Sitting:
        """This life of the worker, as its data is entered: a later one has data of its own."""
        return self.name, self.life


class Worker(Named):
    """The actor of one worker. It may run several seats, one after another."""

    def __init__(self, name: str) -> None:
        settle_in()
        self._name = name
        self._ended = Event()
        self._links: list[HubLink] = []
        self._leases: LeaseFeed | None = None
        self._session: Session | None = None
        self._training: int | None = None  # its thread
        self._is_asked_to_end = self._is_running = self._is_over = self._hands_over = False
        self._listen_for_sigterm()

    def _listen_for_sigterm(self) -> None:
        """How a machine that is about to go tells its processes: one last exchange, then out.

        One at nothing has nothing to say. Ray's own way out would wait for ``watch``.
        """
        if threading.current_thread() is not threading.main_thread():
            return

        def end(signum: int, frame: FrameType | None) -> None:
            if not self._is_running:
                os._exit(128 + signum)
            self._is_asked_to_end = self._hands_over = True
            self._ended.set()

        signal.signal(signal.SIGTERM, end)

    @ray.method(concurrency_group="train")
    def prepare(self, program: Program, config: Config) -> None:
        """Have all imports done, the data read and the loops compiled, for a seat to come."""
        warm_up(config.exchange.format)
        if program.task is not None:
            model = program.task.open(config).build_model()
            make_local_step(model.parameters(), config)
        else:
            torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # imports more than it seems
        if (journal := open_journal(config, self._name)) is not None:
            journal.write("ready")

    @ray.method(concurrency_group="train")
    def run(self, seat: Seat) -> WorkerStatus:
        """Train until the data or the run ends; returns the last status."""
        self._is_running, self._is_over = True, False
        try:
            return self._trained(seat)
        finally:  # not at the next beginning: who asks it to end may be sooner
            self._is_running, self._is_over, self._session = False, True, None
            self._is_asked_to_end = self._hands_over = False
            self._ended.clear()
            for link in self._links:
                link.close()

    def _trained(self, seat: Seat) -> WorkerStatus:
        device, notice = choose_device()
        reporter = ControllerReporter(seat.controller, seat.name, seat.life, str(device))
        if notice:
            reporter.event("device", f"{seat.name}: {notice}")
        torch.manual_seed(worker_seed(seat.config.seed, seat.index, seat.life))
        hubs, hub = self._hubs(seat)
        reporter.hub = hub.name if hub else ""
        journal = reporter.journal = open_journal(seat.config, seat.name)
        links = self._links = reporter.links = open_links(
            seat, device, hubs, journal, tell=reporter.event
        )
        leases = self._leases = LeaseFeed(seat.controller, seat.sitting)
        options = _options(seat)
        session = Session(
            name=seat.name,
            index=seat.index,
            seed=seat.config.seed,
            options=options,
            governor=_governor(seat, options),
            links=links,
            shards=len(hubs),
            leases=leases,
            reporter=reporter,
            device=device,
            batch_size=seat.config.batch_size,
            datasets=seat.program.datasets,
            ended=self._ended,
            traced=seat.traced,
            schedule_offset=seat.schedule_offset,
            inherit=lambda: ray.get(seat.controller.inherit.remote()),
            pacer=Pacer(rate) if (rate := seat.config.fleet.steps_per_s) else None,
        )
        reporter.session = self._session = session
        self._training = threading.get_ident()
        _train(session, seat)
        if self._hands_over and session.tie is not None and seat.algorithm.moves_house:
            with suppress(RayError):  # no controller: the last exchange is what remains
                ray.get(seat.controller.bequeath.remote(session.tie.belongings()))
        return replace(reporter.flush(), was_asked_to_end=self._is_asked_to_end)

    def _hubs(self, seat: Seat) -> tuple[tuple[Hub, ...], Hub | None]:
        """Whom to exchange with: the center, all shards of it, or the aggregator it is sent to."""
        if not seat.config.topology.levels[1:]:
            lives = zip(seat.centers, seat.center_lives, strict=True)
            shards = enumerate(lives)
            return tuple(
                Hub(name=center_name(k), handle=handle, life=life) for k, (handle, life) in shards
            ), None
        node = ray.get_runtime_context().get_node_id()
        hub: Hub = ray.get(seat.controller.attach.remote(seat.sitting, node))
        return (hub,), hub

    @ray.method(concurrency_group="control")
    def holdings(self, hub: str) -> tuple[Holding, ...]:
        """What it has of that hub, slice by slice; empty if it is not its child."""
        return holdings(self._links, hub)

    @ray.method(concurrency_group="control")
    def newest(self, hub: str, part: int) -> tuple[SnapshotHeader, np.ndarray]:
        """The newest snapshot of a slice that it was given."""
        return newest(self._links, hub, part)

    @ray.method(concurrency_group="control")
    def held(self) -> tuple[Interval, ...]:
        """The data it was given lately."""
        return self._leases.held if self._leases else ()

    @ray.method(concurrency_group="control")
    def glance(self) -> ChildLook:
        """How it is: what it has done, how its edges are, and where its loop is."""
        session = self._session
        if session is None or session.tie is None:
            doing = place_of(self._training) if session else ""
            return glance(session.name if session else self._name, self._links, doing=doing)
        return glance(
            session.name,
            self._links,
            clock=session.tie.clock,
            counts=[session.tie.counts],
            waits=session.options.algorithm.rounds != "none",
            doing=place_of(self._training),
        )

    @ray.method(concurrency_group="control")
    def end(self, reason: Literal["drained", "scaled", "over"]) -> None:
        """Ask the loop to end at its next step boundary, with a last exchange.

        Who leaves because of its node hands over what it has. Who has not begun ends at once.
        """
        if self._is_over:
            return
        self._hands_over = reason == "drained"
        self._ended.set()

    @ray.method(concurrency_group="watch")
    def watch(self) -> None:
        """Ends with the process: whoever asks learns of its death."""
        Event().wait()

    @ray.method(concurrency_group="control")
    def where(self) -> dict[str, Any]:
        """Process id, node id and GPU ids of this worker."""
        context = ray.get_runtime_context()
        return {
            "pid": os.getpid(),
            "node_id": context.get_node_id(),
            "gpu_ids": [str(g) for g in ray.get_gpu_ids()],
        }


def open_links(
    seat: Seat,
    device: torch.device,
    hubs: tuple[Hub, ...],
    journal: Journal | None = None,
    tell: Tell | None = None,
) -> list[HubLink]:
    """An edge for each slice of the vector, shard by shard.

    A replay follows vectors that were sent, so a traced run exchanges nothing in place; nor does a
    GPU under an audit, whose pushes are messages.
    """
    section, algorithm = seat.config.exchange, seat.algorithm
    is_followed = journal is not None and device.type != "cpu"
    return [
        open_link(
            hub.handle,
            seat.name,
            transport="object_store" if seat.traced else section.transport,
            wire_format=_options(seat).wire_format,
            part=part,
            can_share=algorithm.in_place and not is_followed,
            device=device,
            hub_name=hub.name,
            find=find_in(seat.controller, hub.name, hub.life),
            tell=tell,
            kind=journaled(journal, seat.config.seed),
        )
        for hub in hubs
        for part in range(section.fragments)
    ]


def _train(session: Session, seat: Seat) -> None:
    """The program, then the last exchange."""
    with use(session):
        try:
            if seat.program.task is not None:
                train_task(session, seat.program.task.open(seat.config), seat.config)
            elif seat.program.loop is not None:
                _call(seat.program.loop, seat.program.loop_config)
        except RunEnded:
            pass
        if session.tie is not None:
            session.tie.finish()


def _call(loop: Callable[..., object], config: Mapping[str, Any] | None) -> None:
    """A user's loop takes a configuration or nothing, as in Ray Train."""
    if config is None and not inspect.signature(loop).parameters:
        loop()
    else:
        loop(dict(config or {}))


def _options(seat: Seat) -> ElasticOptions:
    depth = max(0, len(seat.config.topology.levels) - 1)
    return tie_options(seat.config, seat.algorithm, depth, is_worker=True, traced=seat.traced)


def _governor(seat: Seat, options: ElasticOptions) -> PeriodGovernor | None:
    section = seat.config.algorithm
    distance, share = section.target_distance, section.target_share
    if distance is None and share is None:
        return None
    return PeriodGovernor(options.period, distance=distance, share=share)


def start_worker(
    name: str, *, run: str, num_cpus: float, num_gpus: float, life: int = 1
) -> ActorProxy[Worker]:
    """Start one worker's actor; ``life`` counts those of that name.

    ``max_restarts=0``: a restarted process would train without its seat. Single actors rather
    than a placement group: that would couple their fates.
    """
    return as_actor(
        Worker,
        name=actor_name(run, name, life),
        concurrency_groups={"train": 1, "control": 2, "watch": 1},
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        max_restarts=0,
        max_task_retries=0,
        **placed("worker"),
    ).remote(name)
