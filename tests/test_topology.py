"""Trees: aggregators between the workers and the center, against what is known about trees."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ray_easgd.aggregator import Aggregator
from ray_easgd.algorithms import METHODS
from ray_easgd.config import Config
from ray_easgd.errors import BadConfig
from ray_easgd.simulator import Cable, Pace, Quadratic, Simulation
from ray_easgd.simulator.parts import Level, Node, SimulatedWorker
from ray_easgd.simulator.virtual_run import make_simulation
from ray_easgd.trace import Pushed

WAITING = [m.name for m in METHODS.values() if m.rounds != "none"]
TREES = [m.name for m in METHODS.values() if not m.sequential]


def tree(method: str, *levels: tuple[int, int], **options: object) -> Simulation:
    """Levels, root first, as (fan-out, period)."""
    settings: dict[str, object] = {"lr": 0.1, "problem": Quadratic()} | options
    rate = settings.pop("rate", None)
    shape = [Level(fan_out=d, period=p, moving_rate=rate) for d, p in levels]  # type: ignore[arg-type]
    problem = settings.pop("problem")
    return Simulation(
        problem,  # type: ignore[arg-type]
        METHODS[method],
        num_workers=int(np.prod([d for d, _ in levels])),
        levels=shape,
        **settings,  # type: ignore[arg-type]
    )


def vectors(simulation: Simulation) -> list[Tensor]:
    hubs = [hub.vector for level in simulation.hubs for hub in level]
    return [v for v in hubs if v is not None] + [w.x for w in simulation.workers]


def under(simulation: Simulation, node: Node) -> list[SimulatedWorker]:
    return [w for w in simulation.workers if w.alive and w.link.hub is node.hub]


def laplacian(degree: int) -> NDArray[np.float64]:
    """Of a two-level tree: the root, its hubs, their leaves."""
    size = 1 + degree + degree**2
    result = np.zeros((size, size))
    for child in range(1, size):
        parent = (child - 1) // degree
        result[[child, parent], [child, parent]] += 1.0
        result[[child, parent], [parent, child]] -= 1.0
    return result


# -- what an edge is ---------------------------------------------------------------------------


def test_no_exchange_of_a_tree_makes_or_loses_anything() -> None:
    simulation = tree("easgd", (2, 4), (3, 2), problem=Quadratic(h=0.0, sigma=0.0))
    for k, worker in enumerate(simulation.workers):
        worker.x.fill_(k + 1.0)
    before = now = [float(v) for v in vectors(simulation)]
    for _ in range(600):
        simulation.clock.advance()
        now = [float(v) for v in vectors(simulation)]
        assert sum(now) == pytest.approx(sum(before), abs=1e-5)
    assert np.ptp(now) < 0.1 * np.ptp(before), "all meet in the mean"
    assert np.mean(now) == pytest.approx(np.mean(before), abs=1e-5)


def test_each_edge_conserves_the_sum_of_its_two_ends() -> None:
    """One worker under one hub under the center: who does not meet does not move."""
    simulation = tree("easgd", (1, 3), (1, 1), problem=Quadratic(h=0.0, sigma=0.0))
    (worker,), hub = simulation.workers, simulation.hubs[1][0]
    worker.x.fill_(2.0)
    centers = []
    for _ in range(30):
        assert hub.vector is not None
        centers.append(float(simulation.center))
        lower = float(worker.x + hub.vector)
        simulation.clock.advance()
        gained = float(simulation.center) - centers[-1]
        assert float(worker.x + hub.vector) == pytest.approx(lower - gained, abs=1e-6)
    moved = [k for k, (old, new) in enumerate(pairwise(centers)) if new != old]
    assert moved == list(range(2, 29, 3)), "at every third push that the hub has served"


def test_an_aggregators_clock_counts_the_pushes_it_has_served() -> None:
    simulation = tree("easgd", (2, 16), (4, 3), pace=Pace(jitter=0.3))
    simulation.run(seconds=200)
    for node in simulation.nodes[1]:
        served = [r for _, hub, r in simulation.records if hub == node.name]
        pushes = sum(isinstance(record, Pushed) for record in served)
        assert pushes > 200
        up = [n for n in simulation.trace if n[1] == node.name]
        assert len(up) == pushes // 16
        assert [sequence for _, _, sequence, _, _ in up] == list(range(1, len(up) + 1))


def test_a_round_that_a_loss_completes_is_served_too() -> None:
    simulation = tree("easgd_sync", (2, 4), (3, 2), pace=Pace(jitter=0.3))
    node = simulation.nodes[1][0]
    simulation.run(seconds=50)
    while len([w for w in under(simulation, node) if w.blocked]) != 2:
        simulation.clock.advance()
    simulation.crash(next(w for w in under(simulation, node) if not w.blocked))
    served = [r for _, hub, r in simulation.records if hub == node.name and isinstance(r, Pushed)]
    assert isinstance(node.hub, Aggregator)
    assert node.hub.tie is not None
    assert node.hub.tie.clock == len(served)


def test_moving_rates_follow_the_fan_out() -> None:
    """mathematics.md, 2.11: beta / d at the root, beta / (d + 1) where there is a parent."""
    simulation = tree("easgd", (3, 4), (2, 4), (5, 4))
    root, middle, low = simulation.hubs
    assert [hub.moving_rate for hub in root] == pytest.approx([0.9 / 3])
    assert [hub.moving_rate for hub in middle] == pytest.approx([0.9 / 3] * 3)
    assert [hub.moving_rate for hub in low] == pytest.approx([0.9 / 6] * 6)
    assert [hub.moving_rate for hub in tree("easgd", (2, 4), (2, 4), rate=0.07).hubs[1]] == [
        0.07
    ] * 2


@pytest.mark.parametrize("method", TREES)
def test_a_version_names_one_vector(method: str) -> None:
    """Also of a hub in the middle, which its children and its parent both move."""
    simulation = tree(method, (2, 4), (2, 3), lr=0.02, cable=Cable(latency_s=0.3))
    hub, seen = simulation.hubs[1][0], dict[object, Tensor]()
    for _ in range(800):
        simulation.clock.advance()
        assert hub.vector is not None
        assert torch.equal(seen.setdefault(hub.version, hub.vector.clone()), hub.vector)
    assert len(seen) > 20


# -- what is known -----------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [2, 4])
def test_a_noise_free_tree_contracts_at_the_rate_of_its_map(degree: int) -> None:
    """mathematics.md, 2.10: in lockstep, an aggregator meeting the root once a round."""
    a, eta_h = 0.9 / (degree + 1), 0.1
    means = np.array(
        [
            [1 - eta_h - a, a, 0],
            [a * degree, 1 - (degree + 1) * a, a],
            [0, a * degree, 1 - a * degree],
        ]
    )
    problem = Quadratic(sigma=0.0, dtype=torch.float64)
    simulation = tree("easgd_sync", (degree, degree), (degree, 1), problem=problem, rate=a)
    simulation.run(seconds=40.5)
    before = float(simulation.center)
    simulation.run(seconds=40)
    radius = max(abs(np.linalg.eigvals(means)))
    assert float(simulation.center) / before == pytest.approx(radius**40, rel=1e-9)


@pytest.mark.parametrize(("eta_h", "expected"), [(0.01, 0.99063), (0.1, 0.907045), (0.5, 0.570543)])
def test_the_spectral_radius_of_the_thesis_tree(eta_h: float, expected: float) -> None:
    """mathematics.md, 2.10: 256 leaves, d = 16, alpha = .9 / 17; by power iteration in lockstep."""
    d, a = 16, 0.9 / 17
    leaves = np.diag([0.0] * (1 + d) + [1.0] * d**2)
    exact = max(abs(np.linalg.eigvalsh(np.eye(1 + d + d**2) - a * laplacian(d) - eta_h * leaves)))
    problem = Quadratic(sigma=0.0, dtype=torch.float64)
    simulation = tree("easgd_sync", (d, d), (d, 1), problem=problem, rate=a, lr=eta_h)
    simulation.run(seconds=120.5)
    before = float(simulation.center)
    simulation.run(seconds=1)
    radius = float(simulation.center) / before
    assert abs(radius - exact) < 1e-10
    assert radius == pytest.approx(expected, abs=6e-6)


def test_the_stationary_variance_of_a_tree_is_that_of_its_map() -> None:
    """S = M S M + eta^2 on the leaves, with M = I - alpha L - eta_h on the leaves."""
    a, eta, d = 0.9 / 5, 0.1, 4
    leaves = np.diag([0.0] * (1 + d) + [1.0] * d**2)
    rates, modes = np.linalg.eigh(np.eye(1 + d + d**2) - a * laplacian(d) - eta * leaves)
    noise = modes.T @ (eta**2 * leaves) @ modes
    exact = (modes @ (noise / (1 - np.outer(rates, rates))) @ modes.T)[0, 0]
    simulation = tree("easgd_sync", (d, d), (d, 1), problem=Quadratic(size=4000, x0=0.0), rate=a)
    simulation.run(seconds=60.5)
    seen = simulation.watch(2.0, lambda: float(simulation.center.square().mean()))
    simulation.run(seconds=100)
    assert np.mean(seen) == pytest.approx(exact, rel=0.03)


@pytest.mark.slow
def test_256_leaves_have_the_variance_of_256_with_a_fan_in_of_16() -> None:
    """mathematics.md, 2.10: 1.8084e-4 in lockstep, flat p=16 3.0432e-3; nobody waits here."""
    problem = Quadratic(size=400, x0=0.0)
    simulation = tree("easgd", (16, 16), (16, 1), problem=problem, pace=Pace(jitter=0.2))
    simulation.run(seconds=60)
    seen = simulation.watch(2.0, lambda: float(simulation.center.square().mean()))
    simulation.run(seconds=60)
    assert np.mean(seen) == pytest.approx(1.8084e-4, rel=0.2)


# -- a fleet that changes ----------------------------------------------------------------------


def test_a_joiner_goes_to_the_hub_with_the_fewest_children() -> None:
    simulation = tree("easgd", (2, 4), (3, 2))
    simulation.run(seconds=20)
    lonely = simulation.nodes[1][1]
    simulation.crash(under(simulation, lonely)[0])
    late = simulation.join()
    assert late.link.hub is lonely.hub
    assert torch.equal(late.x, lonely.hub.snapshot().vector)
    assert [len(hub.children) for hub in simulation.hubs[1]] == [3, 3]


def test_a_worker_that_crashes_is_missed_by_its_own_hub_only() -> None:
    simulation = tree("easgd", (2, 4), (3, 2), cable=Cable(latency_s=0.7), pace=Pace(jitter=0.2))
    simulation.run(seconds=50)
    node, other = simulation.nodes[1]
    victim = under(simulation, node)[0]
    simulation.crash(victim)
    before = len(simulation.trace)
    simulation.run(seconds=100)
    assert node.hub.moving_rate == pytest.approx(0.9 / 3)
    assert other.hub.moving_rate == pytest.approx(0.9 / 4)
    children = {name for _, name, *_ in simulation.trace[before:]}
    everybody = {w.name for w in simulation.workers} | {"hub-1-0", "hub-1-1"}
    assert children == everybody - {victim.name}


@pytest.mark.parametrize("latency_s", [0.0, 0.7])
@pytest.mark.parametrize("method", WAITING)
def test_nobody_waits_forever_in_a_tree(method: str, latency_s: float) -> None:
    """With paces of their own, a slow wire, a crash, a join and a goodbye."""
    cable, paces = Cable(latency_s=latency_s), [Pace(jitter=0.2), Pace(step_s=1.7)]
    simulation = tree(method, (2, 4), (2, 3), lr=0.02, cable=cable, paces=paces)
    simulation.run(seconds=100)
    simulation.crash(simulation.workers[0])
    simulation.run(seconds=100)
    simulation.workers.append(simulation.join())
    simulation.run(seconds=100)
    simulation.leave(simulation.workers[1])
    clocks = [w.elastic.clock for w in simulation.workers]
    simulation.run(seconds=300)
    went = [w.elastic.clock - c for w, c in zip(simulation.workers, clocks, strict=True)]
    assert all((n > 10) == w.alive for w, n in zip(simulation.workers, went, strict=True))


@pytest.mark.parametrize("method", WAITING)
def test_a_hub_whose_children_are_all_gone_holds_up_nobody(method: str) -> None:
    simulation = tree(method, (2, 4), (2, 3), lr=0.02)
    simulation.run(seconds=50)
    for worker in under(simulation, simulation.nodes[1][0]):
        simulation.crash(worker)
    simulation.run(seconds=20)
    done = simulation.num_exchanges
    simulation.run(seconds=100)
    assert simulation.num_exchanges > done


@pytest.mark.parametrize("lost_s", [0.5, 8.0])
def test_a_tree_outlives_its_center(lost_s: float) -> None:
    simulation = tree("easgd", (2, 4), (3, 2), pace=Pace(jitter=0.2))
    simulation.run(seconds=50)
    simulation.lose_hub(lost_s)
    simulation.run(seconds=lost_s + 100)
    assert simulation.hub.version.epoch == 2
    assert sorted(simulation.hub.children.values()) == ["hub-1-0", "hub-1-1"]
    up = [name for time_s, name, *_ in simulation.trace if time_s > 50 + lost_s]
    assert {"hub-1-0", "hub-1-1"} <= set(up)


# -- what contradicts --------------------------------------------------------------------------

LEVELS = [{"fan_out": 2, "period": 8}, {"fan_out": 2, "period": 4}]


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"algorithm": {"period": 4}}, "algorithm.period", "periods of their own"),
        ({"fleet": {"workers": 3}}, "fleet.workers", "topology.levels hold 4 workers"),
        ({"fleet": {"workers": "5..9"}}, "fleet.workers", "topology.levels hold 4 workers"),
        ({"algorithm": {"name": "msgd"}}, "topology.levels", "msgd is sequential"),
        (
            {"topology": {"levels": [LEVELS[0], {"fan_out": 2}]}},
            "topology.levels.1.period",
            "needs",
        ),
        ({"topology": {"levels": [{"fan_out": 0, "period": 1}]}}, "topology.levels.0.fan_out", "="),
        ({"topology": {"levels": [{"fan_out": 2, "perod": 3}]}}, "topology.levels.0.perod", "key"),
    ],
)
def test_a_tree_that_cannot_be_is_refused_by_name(
    values: dict[str, dict[str, object]], field: str, said: str
) -> None:
    whole = {"topology": {"levels": LEVELS}, "simulator": {"problem": "quadratic"}} | values
    with pytest.raises(BadConfig, match=said) as refused:
        make_simulation(Config.build(whole))
    assert refused.value.field == field


def test_workers_that_agree_with_the_levels_may_be_said() -> None:
    values = {"topology": {"levels": LEVELS}, "simulator": {"problem": "quadratic"}}
    for workers in (4, "1..8"):
        simulation = make_simulation(Config.build(values | {"fleet": {"workers": workers}}))
        assert len(simulation.workers) == 4
        assert [len(hubs) for hubs in simulation.hubs] == [1, 2]
