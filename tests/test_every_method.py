"""Every method of the table through the same tests.

A new method is one file, one line in the table of methods and one entry in ``CASES``: how it is
run here, what its exchanges conserve, and which plainer method it is without its momentum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ray_easgd.algorithms import METHODS, Algorithm, Nesterov
from ray_easgd.algorithms.contract import Arrival
from ray_easgd.errors import BadConfig
from ray_easgd.simulator import Pace, Quadratic, SimulatedWorker, Simulation
from ray_easgd.wire import decoded

JITTER = Pace(jitter=0.3)


@dataclass(frozen=True, kw_only=True)
class Hill(Quadratic):
    """Mildly noisy, its minimum at 3: what pulls towards the origin is seen."""

    sigma: float = 0.1
    x0: float = 0.0
    size: int = 24
    minimum: float = 3.0

    def gradient(self, x: Tensor, noise: torch.Generator) -> Tensor:
        return super().gradient(x - self.minimum, noise)


NOISY, QUIET = Hill(), Hill(sigma=0.0, size=2)


def run_of(name: str, **options: Any) -> Simulation:
    """Some workers, or the one of a sequential method, at the learning rate of its case."""
    case = CASES[name]
    settings: dict[str, Any] = {
        "problem": NOISY,
        "algorithm": METHODS[name],
        "num_workers": 1 if METHODS[name].sequential else 4,
        "lr": case.lr,
        "period": 3,
        "momentum": case.momentum,
    }
    return Simulation(**settings | options)


def distance(x: Tensor) -> float:
    """Root mean square distance from the minimum."""
    return float((x - NOISY.minimum).square().mean().sqrt())


# -- what is conserved ------------------------------------------------------------------------


def the_sum_of_both_ends_stays(name: str) -> None:
    """Without gradients: the center, what waits for its round, and all x, at any moment."""
    quiet = replace(QUIET, dtype=torch.float64)
    run = run_of(name, problem=quiet, lr=0.0, order="between_steps", pace=JITTER)
    for k, worker in enumerate(run.workers):
        worker.x.add_(k)
    for _ in range(20):
        run.run(exchanges=3)
        waiting = [decoded(d) for _, d in run.hub._gathered.values()]
        total = torch.stack([run.center, *waiting, *(w.x for w in run.workers)]).sum(0)
        assert torch.allclose(total, torch.full_like(total, 6.0), atol=1e-12)
    assert run.center.abs().min() > 0.1


def the_center_is_its_start_plus_each_push(name: str) -> None:
    """Each push of each life once, through a crash, a newcomer and a goodbye."""
    run = run_of(name, pace=JITTER)
    live_through_it(run)
    pushes = [(child, sequence) for _, child, sequence, _, _ in run.trace]
    error = run.hub.ledger_error()
    assert len(set(pushes)) == len(pushes) > 20
    assert error is not None
    assert error < 1e-6


def one_worker_makes_it_nesterovs(name: str) -> None:
    """The center is the look-ahead point of Nesterov's method."""
    run = run_of(name, problem=replace(QUIET, minimum=0.0, x0=1.0), num_workers=1, period=1)
    lr, momentum, x, v = run.lr, run.algorithm.momentum, 1.0, 0.0
    for _ in range(10):
        run.run(exchanges=1)
        v = momentum * v - lr * x
        x += momentum * v - lr * x
        assert float(run.center[0]) == pytest.approx(x, abs=1e-6)


def the_center_is_the_mean_of_its_slots(name: str) -> None:
    """Each slot the child's newest x - m, also after one is lost and another joins."""
    run = run_of(name, pace=JITTER)
    for change in (lambda: None, lambda: run.crash(run.workers[1]), run.join):
        change()
        run.run(exchanges=20)
        slots = [slot for key, slot in run.hub.state.items() if key.startswith("slot ")]
        assert len(slots) == len(run.hub.children)
        assert torch.allclose(run.center, torch.stack(slots).mean(0), atol=1e-6)


def the_center_is_the_mean_of_the_workers(name: str) -> None:
    """When a round completes: of where they were, and everybody is there afterwards."""
    run, spread = run_of(name, period=1, num_workers=4), run_of(name, period=2, num_workers=4)
    spread.run(seconds=1)  # the first step is the same, and not yet averaged
    run.run(seconds=1)
    mean = torch.stack([w.x for w in spread.workers]).mean(0)
    assert torch.allclose(run.center, mean, atol=1e-6)
    assert all(torch.equal(w.x, run.center) for w in run.workers)


def an_outer_step_of_one_is_local_sgd(name: str) -> None:
    """Where there is no momentum; bit for bit."""
    plain = METHODS[name].having(outer_lr=1.0)
    outer = run_of(name, algorithm=plain, momentum=0.0, pace=JITTER)
    assert_same_path(outer, run_of("local_sgd", pace=JITTER))


def one_push_each_is_a_round_of_diloco(name: str) -> None:
    """N pushes computed from one center leave what DiLoCo makes of their sum."""
    one_by_one, at_once = (METHODS[n].center_step for n in (name, "diloco"))
    c, expected, random = torch.zeros(5), torch.zeros(5), torch.Generator().manual_seed(1)
    state, outer = one_by_one.begin(c), at_once.begin(expected)
    for _ in range(6):
        pushes = torch.randn(4, 5, generator=random)
        for d in pushes:
            one_by_one.apply_(c, d, state, Arrival(children=4))
        at_once.apply_(expected, pushes.sum(0), outer, Arrival(pushes=4, children=4))
        assert torch.allclose(c, expected, atol=1e-5)


# -- the methods ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Case:
    """How one method is run here, what holds for its exchanges, and what it is at momentum 0."""

    conserves: Callable[[str], None]
    lr: float = 0.1
    momentum: float | None = None
    plain: str | None = None


SUM, PUSHES = the_sum_of_both_ends_stays, the_center_is_its_start_plus_each_push
SLOTS = the_center_is_the_mean_of_its_slots
NESTEROV = one_worker_makes_it_nesterovs

CASES: dict[str, Case] = {
    "sgd": Case(conserves=PUSHES),
    "msgd": Case(conserves=PUSHES, momentum=0.6, plain="sgd"),
    "asgd": Case(conserves=PUSHES),
    "mvasgd": Case(conserves=PUSHES),
    "easgd": Case(conserves=SUM),
    "eamsgd": Case(conserves=SUM, momentum=0.6, plain="easgd"),
    "easgd_sync": Case(conserves=SUM),
    "gauss_seidel": Case(conserves=PUSHES),
    "two_rate": Case(conserves=PUSHES),
    "downpour": Case(conserves=PUSHES),
    "adownpour": Case(conserves=PUSHES),
    "mvadownpour": Case(conserves=PUSHES),
    "mdownpour": Case(conserves=NESTEROV, lr=0.02, momentum=0.6, plain="downpour"),
    "admm": Case(conserves=SLOTS, lr=0.3),
    "admm_async": Case(conserves=SLOTS),
    "local_sgd": Case(conserves=the_center_is_the_mean_of_the_workers),
    "diloco": Case(conserves=an_outer_step_of_one_is_local_sgd, momentum=0.6),
    "diloco_async": Case(conserves=one_push_each_is_a_round_of_diloco, momentum=0.6),
}


def some(of: Callable[[Algorithm], object]) -> Any:
    """Parametrizes ``name`` over those methods."""
    return pytest.mark.parametrize("name", [n for n, algorithm in METHODS.items() if of(algorithm)])


EVERY = some(lambda a: True)


def live_through_it(run: Simulation) -> None:
    """A worker crashes, two join, one of them leaves again."""
    run.run(seconds=25)
    run.crash(run.workers[0])
    run.run(seconds=15)
    late = run.join()
    run.run(seconds=15)
    run.join()
    run.leave(late)
    run.run(seconds=60)


def assert_same_path(one: Simulation, other: Simulation) -> None:
    """Center and workers, bit for bit."""
    for _ in range(20):
        for run in (one, other):
            run.run(seconds=2)
        assert torch.equal(one.center, other.center)
        assert all(torch.equal(a.x, b.x) for a, b in zip(one.workers, other.workers, strict=True))
    assert not torch.equal(one.center, NOISY.start())


def plain_path(run: Simulation, worker: SimulatedWorker) -> Tensor:
    """Where this worker would be if nothing but its own gradients had moved it."""
    x = run.problem.start()
    step = Nesterov([x], lr=run.lr, momentum=run.algorithm.momentum)
    noise = torch.Generator().manual_seed(worker.noise.initial_seed())
    for _ in range(worker.elastic.clock):
        step.prepare()
        x.grad = run.problem.gradient(x, noise)
        step.step()
    return x


def test_every_method_has_a_case() -> None:
    assert CASES.keys() == METHODS.keys()


@some(lambda a: True)
def test_what_a_method_conserves(name: str) -> None:
    claims = {"sum": SUM, "pushes": PUSHES}
    assert CASES[name].conserves is claims.get(METHODS[name].conserves, CASES[name].conserves)
    CASES[name].conserves(name)


@some(lambda a: a.conserves == "sum")
def test_the_ledger_balances_through_a_noisy_life(name: str) -> None:
    the_center_is_its_start_plus_each_push(name)


@EVERY
def test_the_same_seed_gives_the_same_run(name: str) -> None:
    def run(seed: int) -> Simulation:
        run = run_of(name, seed=seed, pace=JITTER)
        run.run(exchanges=40)
        return run

    one, same, other = run(1), run(1), run(2)
    assert one.trace == same.trace != other.trace
    assert torch.equal(one.center, same.center)
    assert not torch.equal(one.center, other.center)


@EVERY
def test_a_method_survives_crashes_newcomers_and_goodbyes(name: str) -> None:
    run = run_of(name, pace=JITTER)
    assert distance(run.center) == pytest.approx(3.0)
    live_through_it(run)
    assert distance(run.center) < 0.1
    assert run.story.events == []


@EVERY
def test_one_worker_alone_reaches_the_minimum(name: str) -> None:
    run = run_of(name, problem=QUIET, num_workers=1)
    run.run(seconds=250)
    assert distance(run.center) < 1e-3
    assert distance(run.workers[0].x) < 1e-3


@some(lambda a: a.sequential)
def test_a_sequential_method_is_its_local_step_bit_for_bit(name: str) -> None:
    run = run_of(name)
    run.run(seconds=60)
    (worker,) = run.workers
    assert torch.equal(worker.x, plain_path(run, worker))
    assert torch.allclose(run.center, worker.x, atol=1e-5)


@some(lambda a: a.exchange.elastic)
def test_at_moving_rate_zero_workers_are_plain_and_the_center_stays(name: str) -> None:
    run = run_of(name, fixed_rate=0.0, pace=JITTER)
    run.run(seconds=60)
    assert torch.equal(run.center, NOISY.start())
    for worker in run.workers:
        assert torch.equal(worker.x, plain_path(run, worker))


@some(lambda a: CASES[a.name].plain)
def test_without_momentum_a_method_is_its_plain_one_bit_for_bit(name: str) -> None:
    plain = CASES[name].plain
    assert plain is not None
    one = run_of(name, momentum=0.0, lead=0, pace=JITTER)
    assert_same_path(one, run_of(plain, lr=one.lr, lead=0, pace=JITTER))


@some(lambda a: a.momentum)
def test_momentum_makes_a_difference(name: str) -> None:
    runs = [run_of(name, momentum=momentum) for momentum in (0.0, 0.5)]
    for run in runs:
        run.run(seconds=30)
    assert not torch.allclose(runs[0].center, runs[1].center, atol=1e-3)


@some(lambda a: not a.sequential and a.rounds == "none")
def test_nobody_waits_where_nobody_has_to(name: str) -> None:
    undisturbed, disturbed = run_of(name, pace=JITTER), run_of(name, pace=JITTER)
    disturbed.stop(disturbed.workers[0], seconds=1000)
    for run in (undisturbed, disturbed):
        run.run(seconds=100)
    clocks = [[w.elastic.clock for w in run.workers[1:]] for run in (undisturbed, disturbed)]
    assert clocks[0] == clocks[1]
    assert min(clocks[0]) > 80


@some(lambda a: a.rounds != "none")
def test_everybody_waits_where_they_go_in_rounds(name: str) -> None:
    """For the exchange that the stopped worker misses, at most one period beyond it; and goes on,
    no faster than before, once that worker is known to be gone."""
    run = run_of(name, pace=JITTER)
    run.run(seconds=50)
    stopped, *others = run.workers
    run.stop(stopped, seconds=1000)
    missed = (stopped.elastic.clock // 3 + 1) * 3
    run.run(seconds=50)
    before = [worker.elastic.clock for worker in others]
    assert max(before) <= missed + 3
    run.crash(stopped)
    run.run(seconds=100)
    steps = [w.elastic.clock - clock for w, clock in zip(others, before, strict=True)]
    assert all(25 < n < 110 for n in steps)


@some(lambda a: a.rounds == "in_turn")
def test_turns_stay_one_at_a_time_when_somebody_joins(name: str) -> None:
    for joins_at in (6.5, 9.5, 12.5):
        run = run_of(name, num_workers=3)
        run.run(seconds=joins_at)
        workers = [*run.workers, run.join()]
        for _ in range(20):
            assert sum(not worker.blocked for worker in workers) == 1
            run.run(seconds=1)


@some(lambda a: a.center_step.takes_differences)
def test_without_staleness_its_weight_changes_nothing(name: str) -> None:
    """One worker, and a wire that takes no time."""
    runs = [run_of(name, num_workers=1, lead=0, staleness_power=power) for power in (0.0, 0.5)]
    assert_same_path(*runs)


@some(lambda a: a.center_step.takes_differences and not a.sequential)
def test_what_is_stale_counts_for_less_and_the_minimum_stays_where_it_is(name: str) -> None:
    plain, weighed = (run_of(name, pace=JITTER, staleness_power=power) for power in (0.0, 0.5))
    for run in (plain, weighed):
        run.run(seconds=120)
    assert torch.equal(plain.center, weighed.center) == (METHODS[name].rounds != "none")
    assert distance(weighed.center) < 0.1


@some(lambda a: not a.center_step.takes_differences)
def test_whole_vectors_are_not_weighed(name: str) -> None:
    with pytest.raises(BadConfig, match="staleness_power"):
        run_of(name, staleness_power=0.5)
