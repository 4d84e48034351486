"""The virtual fleet: reproducible to the byte, and right where the answer is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ray_easgd.algorithms import METHODS
from ray_easgd.simulator import (
    Cable,
    Clock,
    DoubleWell,
    GammaQuadratic,
    Pace,
    Quadratic,
    Simulation,
)


def flat(method: str = "easgd", **options: object) -> Simulation:
    settings: dict[str, object] = {"num_workers": 4, "lr": 0.1} | options
    problem = settings.pop("problem", Quadratic())
    return Simulation(problem, METHODS[method], **settings)  # type: ignore[arg-type]


def test_things_happen_in_the_order_of_their_times() -> None:
    clock, seen = Clock(), list[str]()
    clock.after(2.0, lambda: seen.append("late"))
    clock.after(1.0, lambda: seen.append("first"))
    clock.after(1.0, lambda: seen.append("second"))
    while clock.advance():
        pass
    assert seen == ["first", "second", "late"]
    assert clock.now_s == 2.0


@pytest.mark.parametrize("method", list(METHODS))
def test_the_same_seed_gives_the_same_trace(method: str) -> None:
    workers = 1 if METHODS[method].sequential else 4

    def trace(seed: int) -> list[tuple[float, str, int, int, int]]:
        simulation = flat(method, num_workers=workers, seed=seed, pace=Pace(jitter=0.3))
        simulation.run(exchanges=60)
        return simulation.trace

    assert trace(1) == trace(1) != trace(2)


@pytest.mark.parametrize(
    ("period", "center", "worker"), [(1, 0.0108, 0.026), (10, 0.0083, 0.046), (100, 0.0068, 0.057)]
)
def test_asynchronous_moments_are_the_reference_ones(
    period: int, center: float, worker: float
) -> None:
    """mathematics.md, 2.2: one worker drawn uniformly per event; the reference is Monte-Carlo."""
    simulation = flat(
        problem=Quadratic(size=400, x0=0.0),
        period=period,
        fixed_rate=0.225,
        order="at_snapshot",
        lead=0,
        pace=Pace(random_order=True),
    )
    simulation.run(seconds=300)

    def moments() -> tuple[float, float]:
        x = torch.stack([w.x for w in simulation.workers])
        return float(simulation.center.square().mean()), float(x.square().mean())

    seen = simulation.watch(1.0, moments)
    simulation.run(seconds=1000)
    assert np.mean(seen, axis=0) == pytest.approx([center, worker], rel=0.12)


def test_downpour_diverges_at_a_period_where_easgd_is_stable() -> None:
    """mathematics.md, 3.3: at eta h = 0.05 and p = 4, DOWNPOUR's factor at period 16 is -1.239."""
    downpour = flat("downpour", lr=0.05, period=16, problem=Quadratic(sigma=0.0), lead=0)
    easgd = flat("easgd", lr=0.05, period=16, problem=Quadratic(sigma=0.0), lead=0)
    for simulation in (downpour, easgd):
        simulation.cable = Cable(latency_s=4.0)
        simulation.__post_init__()  # everyone pushes before anyone sees: the aligned case
        simulation.run(seconds=2000)
    assert abs(float(easgd.center)) < 1e-3
    assert abs(float(downpour.center)) > 10


@pytest.mark.parametrize(("rho", "trapped"), [(0.3, True), (0.6, True), (0.8, False)])
@pytest.mark.parametrize("saddle", [False, True])
def test_the_double_well_traps_below_two_thirds(rho: float, trapped: bool, saddle: bool) -> None:
    """mathematics.md, 3.6: two workers in different wells hold the center between them."""
    lr = 0.05
    simulation = flat(
        problem=DoubleWell(saddle=saddle),
        num_workers=2,
        lr=lr,
        period=1,
        lead=0,
        fixed_rate=lr * rho,
        order="at_snapshot",
    )
    for worker, well in zip(simulation.workers, (1.0, -1.0), strict=True):
        worker.x[0] = well
    simulation.run(seconds=8000)
    assert (abs(float(simulation.center[0])) < 0.1) == trapped
    assert trapped or abs(float(simulation.center[0])) == pytest.approx(1.0, abs=1e-3)


def test_a_wider_spread_of_the_noise_is_slower() -> None:
    """mathematics.md, 3.5: multiplicative noise; small lambda at one mean is a large spread."""

    def end(spread: float) -> float:
        problem = GammaQuadratic(lam=spread, om=spread, size=2000)
        simulation = flat(problem=problem, lr=0.2, period=1, pace=Pace(random_order=True))
        simulation.run(seconds=15)
        return float(simulation.center.square().mean())

    assert end(10.0) < end(0.5)


def test_a_crash_loses_what_was_under_way_and_nothing_else() -> None:
    simulation = flat(cable=Cable(latency_s=0.7), period=2, pace=Pace(jitter=0.2))
    simulation.run(exchanges=40)
    victim = simulation.workers[0]
    simulation.crash(victim)
    pushed = simulation.hub.version.count
    simulation.run(exchanges=100)
    assert simulation.hub.version.count == pushed + 100
    assert simulation.hub.moving_rate == pytest.approx(0.9 / 3)
    assert all(name != victim.name for _, name, *_ in simulation.trace[-100:])
    error = simulation.hub.ledger_error()
    assert error is not None
    assert error < 1e-5


def test_a_stopped_worker_changes_nobody_elses_steps() -> None:
    undisturbed, disturbed = flat(period=5), flat(period=5)
    disturbed.stop(disturbed.workers[0], seconds=300.0)
    for simulation in (undisturbed, disturbed):
        simulation.run(seconds=250)
    clocks = [[w.elastic.clock for w in s.workers] for s in (undisturbed, disturbed)]
    assert clocks[1][0] == 0
    assert clocks[1][1:] == clocks[0][1:]
    disturbed.run(seconds=200)
    assert disturbed.workers[0].elastic.clock > 100


def test_a_worker_may_join_at_any_time() -> None:
    simulation = flat(num_workers=1)
    simulation.run(exchanges=10)
    late = simulation.join()
    assert torch.equal(late.x, simulation.center)
    simulation.run(exchanges=20)
    assert late.elastic.counts.exchanges > 5


def test_a_slow_wire_makes_exchanges_late_and_steps_no_slower() -> None:
    fast, slow = flat(period=4), flat(period=4, cable=Cable(latency_s=9.0))
    for simulation in (fast, slow):
        simulation.run(seconds=400)
    assert [w.elastic.clock for w in fast.workers] == [w.elastic.clock for w in slow.workers]
    assert sum(w.elastic.counts.exchanges_late for w in fast.workers) == 0
    late, done = (
        sum(getattr(w.elastic.counts, name) for w in slow.workers)
        for name in ("exchanges_late", "exchanges")
    )
    assert late > 0
    assert 0 < done < sum(w.elastic.counts.exchanges for w in fast.workers)


def test_a_pull_begins_as_early_as_the_wire_needs() -> None:
    """Once the lead has followed the wire, exchanges are on time again, where the period allows."""
    simulation = flat(period=20, cable=Cable(latency_s=3.0))
    simulation.run(seconds=1000)
    for worker in simulation.workers:
        assert worker.elastic.counts.exchanges_late <= 1
        assert worker.elastic.counts.exchanges >= 45


def test_the_example_of_the_readme_runs() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "Simul" in b)
    names: dict[str, Any] = {}
    exec(block, names)
    assert 0 < names["variance"] < 0.05263, "below what SGD alone keeps at this rate"
