"""Methods against their formulas, as the published iterations give them."""

from __future__ import annotations

import pytest
import torch

from ray_easgd.algorithms import METHODS, Algorithm
from ray_easgd.algorithms.averages import Averaged
from ray_easgd.algorithms.contract import Add, Arrival
from ray_easgd.algorithms.downpour import NesterovCenter
from ray_easgd.simulator import Quadratic, Simulation


def alone(algorithm: Algorithm) -> Simulation:
    """One worker on F = x^2 / 2 from 1, without noise, exchanging at every step."""
    problem = Quadratic(sigma=0.0)
    return Simulation(problem, algorithm, num_workers=1, lr=0.1, period=1, lead=0)


def path(simulation: Simulation, steps: int) -> list[float]:
    """Where the center is after each push."""
    centers = [float(simulation.center)]
    for _ in range(steps):
        simulation.run(exchanges=1)
        centers.append(float(simulation.center))
    return centers


@pytest.mark.parametrize(
    ("as_printed", "expected"),
    [
        (False, [1, 0.81, 0.5751, 0.327321, 0.093888]),
        (True, [1, 0.91, 0.7471, 0.533251]),
    ],
)
def test_the_center_step_of_mdownpour_is_nesterovs(as_printed: bool, expected: list[float]) -> None:
    """mathematics.md, 2.5: the corrected step is the look-ahead iteration, the printed is not."""
    step, c = NesterovCenter(0.9, as_printed), torch.ones(1)
    state, centers = step.begin(c), [1.0]
    for _ in expected[1:]:
        step.apply_(c, -0.1 * c, state, Arrival())
        centers.append(float(c))
    assert centers == pytest.approx(expected, abs=1e-6)


def test_printed_mdownpour_never_moves_without_momentum() -> None:
    step, c = NesterovCenter(0.0, as_printed=True), torch.ones(1)
    step.apply_(c, torch.full((1,), -0.1), step.begin(c), Arrival())
    assert float(c) == 1.0


def test_the_polyak_average_is_the_mean_of_all_centers_before() -> None:
    """mathematics.md, 2.6: z_{t+1} is the mean of c_0 .. c_t."""
    step, c = Averaged(Add()), torch.zeros(3)
    state, before = step.begin(c), []
    for k in range(20):
        before.append(c.clone())
        step.apply_(c, torch.full((3,), float(k)), state, Arrival())
        assert torch.allclose(step.judged(c, state), torch.stack(before).mean(0), atol=1e-4)


def test_a_moving_average_forgets_at_its_rate() -> None:
    step, c = Averaged(Add(), rate=0.5), torch.zeros(1)
    state = step.begin(c)
    for d in (1.0, 0.0, 0.0):
        step.apply_(c, torch.full((1,), d), state, Arrival())
    assert float(step.judged(c, state)) == pytest.approx(0.75)


@pytest.mark.parametrize("name", ["asgd", "mvasgd", "adownpour", "mvadownpour"])
def test_an_average_is_judged_and_never_shown_to_workers(name: str) -> None:
    algorithm = METHODS[name]
    simulation = alone(algorithm)
    simulation.run(exchanges=30)
    assert simulation.hub.judged is not None
    assert not torch.equal(simulation.hub.judged, simulation.center)
    plain = alone(METHODS["sgd" if "sgd" in name else "downpour"])
    plain.run(exchanges=30)
    assert torch.equal(plain.center, simulation.center)


def test_msgd_alone_is_nesterovs_iteration() -> None:
    """v <- delta v - lr g(x + delta v); x <- x + v (mathematics.md, 2.3)."""
    x, v, expected = 1.0, 0.0, [1.0]
    for _ in range(12):
        v = 0.9 * v - 0.1 * (x + 0.9 * v)
        x += v
        expected.append(x)
    assert path(alone(METHODS["msgd"]), 12) == pytest.approx(expected, abs=1e-5)


def test_easgd_alone_follows_algorithm_one() -> None:
    """Both right-hand sides use the values before (mathematics.md, 2.2), from the second meeting
    on; the first, at clock 0, changes nothing because x equals c."""
    algorithm = METHODS["easgd"]
    simulation = Simulation(
        Quadratic(sigma=0.0),
        algorithm,
        num_workers=1,
        lr=0.1,
        period=1,
        lead=0,
        fixed_rate=0.25,
        order="at_snapshot",
    )
    x, c, expected = 1.0, 1.0, [1.0]
    x -= 0.1 * x
    for _ in range(12):
        d = 0.25 * (x - c)
        x, c = x - 0.1 * x - d, c + d
        expected.append(c)
    assert path(simulation, 12) == pytest.approx(expected, abs=1e-6)


def test_another_momentum_reaches_the_piece_that_has_it() -> None:
    changed = METHODS["mdownpour"].having(momentum=0.5)
    assert changed.center_step == NesterovCenter(0.5)
    assert METHODS["eamsgd"].having(momentum=0.5).momentum == 0.5
