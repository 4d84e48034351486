"""``ray-easgd simulate``: a whole configuration on the virtual cluster."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ray_easgd.algorithms import Algorithm
from ray_easgd.config import Config
from ray_easgd.errors import BadConfig, Diverged
from ray_easgd.loop import make_local_step, resolve
from ray_easgd.planner.plan import check
from ray_easgd.recipe import algorithm_of, refuse_what_differs_on_the_wire
from ray_easgd.sections import MOST_WORKERS
from ray_easgd.simulator.fleet import Simulation
from ray_easgd.simulator.parts import Level, Pace
from ray_easgd.simulator.problems import DoubleWell, GammaQuadratic, Problem, Quadratic
from ray_easgd.simulator.task_problem import TaskProblem
from ray_easgd.simulator.wire import Cable
from ray_easgd.task import Task
from ray_easgd.trace import Pushed, TraceFile, fingerprint

_DEFAULT_EXCHANGES = 1000
_DEFAULT_WORKERS = 4
_LOOKS = 50
_LOOK_AFTER_STEPS = 10_000  # at the latest, so that also a goal that is far away is told of

OnProgress = Callable[[float, str], None]
"""Told now and then: the share of the run that is done, and a line about it."""


def simulate(
    config: Config | Mapping[str, Any] | None = None,
    *,
    trace: str | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Run a configuration on the virtual cluster, and say how it ended.

    Takes every key that training takes, and those of ``simulator``. ``trace`` names a file for what
    shaped each hub, in order; the same configuration writes the same bytes. Raises BadInput.
    """
    config = config if isinstance(config, Config) else Config.build(config or {})
    refuse_what_differs_on_the_wire(config, "the simulator")
    began = time.perf_counter()
    tell = on_progress or (lambda share, line: None)
    return _run(config, tell, trace) | {"wall_s": time.perf_counter() - began}


def make_simulation(config: Config, problem: Problem | None = None) -> Simulation:
    """The virtual fleet that a configuration describes, its faults still to come.

    ``problem`` takes the place of the one it names.
    """
    algorithm = algorithm_of(config)
    config = resolve(config)
    section, sim = config.algorithm, config.simulator
    simulation = Simulation(
        problem or make_problem(config),
        algorithm,
        num_workers=_num_workers(config, algorithm),
        lr=config.optimizer.lr or algorithm.lr,
        period=section.period,
        beta=section.beta,
        fixed_rate=section.moving_rate,
        order=section.order,
        levels=_levels(config),
        pace=Pace(step_s=sim.step_s, jitter=sim.jitter, random_order=sim.random_order),
        paces=[
            Pace(step_s=sim.step_s * slow, jitter=sim.jitter, random_order=sim.random_order)
            for slow in sim.slowness
        ],
        cable=_cable(config),
        make_step=lambda tensors: make_local_step(tensors, config),
        schedule=config.optimizer.schedule.build(),
        average=config.center.average,
        average_rate=config.center.average_rate,
        staleness_power=section.staleness_power,
        max_staleness=config.fleet.max_staleness,
        seed=config.seed,
    )
    for fault in sim.faults:
        _schedule(simulation, fault)
    return simulation


def make_problem(config: Config) -> Problem:
    """What ``simulator.problem`` names."""
    sim = config.simulator
    if sim.problem == "task":
        torch.manual_seed(config.seed)
        return TaskProblem(Task().open(config), config.batch_size)
    if sim.problem == "quadratic":
        return Quadratic(h=sim.h, sigma=sim.sigma, x0=sim.x0, size=sim.size)
    if sim.problem == "gamma_quadratic":
        return GammaQuadratic(lam=sim.lam, om=sim.om, x0=sim.x0, size=sim.size)
    return DoubleWell(sigma=sim.sigma, x0=sim.x0, saddle=sim.saddle)


def _run(config: Config, tell: OnProgress, trace: str | None) -> dict[str, Any]:
    simulation, goal = make_simulation(config), _Goal.of(config)
    while not goal.reached(simulation):
        before = simulation.clock.now_s, simulation.num_exchanges, simulation.num_steps
        try:
            goal.run_on(simulation)
        except Diverged:
            check(config, simulation.num_workers)  # it may be the user's moving rate, not the lr
            raise
        share, line = goal.share(simulation), f"{simulation.num_exchanges:,} exchanges"
        tell(share, f"{line}, {simulation.clock.now_s:,.1f} virtual seconds")
        if (simulation.clock.now_s, simulation.num_exchanges, simulation.num_steps) == before:
            break  # nobody is left to do anything
    judged = simulation.hub.judged
    assert judged is not None
    if trace is not None:
        _write_trace(trace, config, simulation)
    return _summary(config, simulation) | simulation.problem.value(judged)


@dataclass(frozen=True, kw_only=True)
class _Goal:
    """When a simulation ends: at the first of these."""

    exchanges: float
    seconds: float
    steps: float

    @classmethod
    def of(cls, config: Config) -> _Goal:
        stop, exchanges = config.stop, config.simulator.exchanges
        if stop.accuracy is not None:
            raise BadConfig(
                "stop.accuracy",
                stop.accuracy,
                "a simulation is not tested on the way",
                "Set simulator.exchanges, stop.seconds (virtual) or stop.samples.",
            )
        if exchanges is None and stop.seconds is None and stop.samples is None:
            exchanges = _DEFAULT_EXCHANGES
        return cls(
            exchanges=exchanges or math.inf,
            seconds=stop.seconds or math.inf,
            steps=-(-stop.samples // config.batch_size) if stop.samples else math.inf,
        )

    def share(self, simulation: Simulation) -> float:
        return max(
            simulation.num_exchanges / self.exchanges,
            simulation.clock.now_s / self.seconds,
            simulation.num_steps / self.steps,
        )

    def reached(self, simulation: Simulation) -> bool:
        return self.share(simulation) >= 1.0

    def run_on(self, simulation: Simulation) -> None:
        """A fiftieth of the way, or what takes a second or so."""

        def part(whole: float, done: float) -> float:
            return min(whole - done, max(1.0, whole / _LOOKS))

        simulation.run(
            exchanges=part(self.exchanges, simulation.num_exchanges),
            steps=min(part(self.steps, simulation.num_steps), _LOOK_AFTER_STEPS),
            seconds=min(self.seconds - simulation.clock.now_s, self.seconds / _LOOKS),
        )


def _summary(config: Config, simulation: Simulation) -> dict[str, Any]:
    counts = [worker.elastic.counts for worker in simulation.workers]
    pushes = [record for _, _, record in simulation.records if isinstance(record, Pushed)]
    staleness = [push.staleness for push in pushes]
    return {
        "algorithm": simulation.algorithm.name,
        "problem": config.simulator.problem,
        "num_workers": len([worker for worker in simulation.workers if worker.alive]),
        "waits_for": simulation.algorithm.waits,
        "virtual_s": simulation.clock.now_s,
        "steps": simulation.num_steps,
        "samples": simulation.num_steps * config.batch_size,
        "exchanges": simulation.num_exchanges,
        "exchanges_late": sum(c.exchanges_late for c in counts),
        "bytes_sent": sum(c.bytes_sent for c in counts),
        "bytes_received": sum(c.bytes_received for c in counts),
        "staleness_mean": float(np.mean(staleness)) if staleness else 0.0,
        "staleness_max": max(staleness, default=0),
        "levels": _levels_summary(simulation),
        "center_sha256": fingerprint(simulation.center),
    }


def _levels_summary(simulation: Simulation) -> list[dict[str, Any]]:
    """One row a level of hubs, root first."""
    names = [{node.name for node in level} for level in simulation.nodes]
    rows = []
    for level, hubs in zip(names, simulation.hubs, strict=True):
        pushes = [r for _, hub, r in simulation.records if hub in level and isinstance(r, Pushed)]
        ages = [push.staleness for push in pushes]
        rows.append(
            {
                "hubs": len(hubs),
                "moving_rate": hubs[0].moving_rate,
                "exchanges": len(pushes),
                "staleness_mean": float(np.mean(ages)) if ages else 0.0,
            }
        )
    return rows


def _write_trace(path: str, config: Config, simulation: Simulation) -> None:
    with TraceFile.create(path, config.model_dump(mode="json"), kind="simulated") as file:
        for time_s, hub, record in simulation.records:
            file.write(record, time_s=time_s, hub=hub)
        file.end(simulation.hub.version, simulation.center)


def _num_workers(config: Config, algorithm: Algorithm) -> int:
    leaves = math.prod(level.fan_out for level in config.topology.levels)
    bounds = config.fleet.bounds
    if not config.topology.levels:
        return 1 if algorithm.sequential else bounds[0] if bounds else _DEFAULT_WORKERS
    if leaves > MOST_WORKERS:
        raise BadConfig(
            "topology.levels",
            f"{leaves} workers",
            f"the simulator holds {MOST_WORKERS} at most",
            "Make the fan-outs' product smaller.",
        )
    if bounds is not None and not bounds[0] <= leaves <= bounds[1]:
        raise BadConfig(
            "fleet.workers",
            config.fleet.workers,
            f"topology.levels hold {leaves} workers",
            "Leave fleet.workers away, or make the fan-outs' product agree.",
        )
    return leaves


def _levels(config: Config) -> tuple[Level, ...]:
    return tuple(
        Level(
            fan_out=level.fan_out,
            period=level.up or 1,
            period_down=level.down,
            moving_rate=level.moving_rate,
        )
        for level in config.topology.levels
    )


def _cable(config: Config) -> Cable:
    sim = config.simulator
    return Cable(latency_s=sim.latency_s, bytes_per_s=sim.bytes_per_s or math.inf)


def _schedule(simulation: Simulation, fault: Any) -> None:
    happen: dict[str, Callable[[], object]] = {
        "crash": lambda: simulation.crash(_worker(simulation, fault)),
        "stop": lambda: simulation.stop(_worker(simulation, fault), fault.seconds),
        "leave": lambda: simulation.leave(_worker(simulation, fault)),
        "join": lambda: _join(simulation),
        "hub_loss": lambda: simulation.lose_hub(fault.seconds),
    }
    simulation.clock.after(fault.at_s, lambda: _ignore(happen[fault.kind]()))


def _join(simulation: Simulation) -> None:
    """A join during an outage of the center comes when that is over."""
    if simulation.hub_is_down:
        simulation.clock.after(1.0, lambda: _join(simulation))
    else:
        simulation.join()


def _ignore(result: object) -> None:
    """A clock's action gives nothing back."""


def _worker(simulation: Simulation, fault: Any) -> Any:
    if fault.worker >= len(simulation.workers):
        raise BadConfig(
            "simulator.faults",
            f"worker {fault.worker}",
            f"there are {len(simulation.workers)} workers when it is due",
            "Count from 0, in the order of birth.",
        )
    return simulation.workers[fault.worker]
