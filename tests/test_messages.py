"""The tree by one-way messages (docs/mathematics.md, 2.10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ray_easgd.algorithms.messages import (
    MessageNode,
    MessageOptions,
    Periods,
    multi_scale,
    up_and_down,
)
from ray_easgd.algorithms.steps import Nesterov, Sgd
from ray_easgd.simulator import Pace
from ray_easgd.simulator.messages import MessageTree
from ray_easgd.simulator.problems import Quadratic
from ray_easgd.simulator.wire import Cable

D, ETA, ALPHA = 4, 0.1, 0.18
SCHEMES = {
    "multi-scale 10/100": multi_scale(100, 10),
    "up and down 10/100": up_and_down(10, 100),
    "up and down 1/10": up_and_down(1, 10),
}
FREE_SGD = ETA / (2 - ETA)  # the second moment of plain SGD at h = sigma = 1

numbers = st.floats(-1e6, 1e6, width=32)
vectors = st.lists(numbers, min_size=3, max_size=3).map(torch.tensor)
rates = st.floats(0, 1)
heard = st.lists(st.tuples(st.sampled_from("abc"), vectors), max_size=6)


@dataclass(frozen=True)
class Linear:
    """``g = x`` in double precision: a basis of starts shows the linear map of the scheme."""

    size: int

    def start(self) -> Tensor:
        return torch.zeros(self.size, dtype=torch.float64)

    def gradient(self, x: Tensor, noise: torch.Generator) -> Tensor:
        return x.clone()


def node(x: Tensor, rate: float = ALPHA, **periods: int) -> MessageNode:
    return MessageNode(x.clone(), MessageOptions(moving_rate=rate, periods=periods))


def tree(periods: Periods | None = None, **options: object) -> MessageTree:
    given: dict[str, object] = {"problem": Quadratic(), "moving_rate": ALPHA, "lr": ETA} | options
    periods = periods or multi_scale(1, 1)
    return MessageTree(fan_outs=(D, D), periods=periods, **given)  # type: ignore[arg-type]


def states(of: MessageTree) -> Tensor:
    """All vectors, shape (nodes, n), root first, leaves last."""
    return torch.stack([n.x for n in of.nodes.values()])


def unit_starts(eta: float, alpha: float, *, by_level: bool) -> MessageTree:
    """A tree at period 1 whose nodes start at unit vectors: of their own, or of their level."""
    of = tree(problem=Linear(3 if by_level else 1 + D + D * D), lr=eta, moving_rate=alpha)
    for level, nodes in enumerate(of.levels):
        for n in nodes:
            n.x[level if by_level else list(of.nodes).index(n.name)] = 1.0
    return of


def one_step_map(of: MessageTree) -> Tensor:
    """M in ``X' = M X``, rows and columns by node. The first tick has nothing to hear yet."""
    of.run(ticks=1)
    before = states(of)
    of.run(ticks=1)
    m: Tensor = states(of) @ torch.linalg.inv(before)
    return m


def level_map(eta: float, alpha: float, d: int = D) -> Tensor:
    """The means of (root, inner, leaf) at period 1, each message heard on the next tick.

    One by one, d equal messages leave a node the share ``q = (1 - alpha)^d`` of itself; an inner
    node hears the root first, as the root has its turn first.
    """
    q, a, e = (1 - alpha) ** d, alpha, 1 - eta
    rows = [[q, 1 - q, 0], [q * a, q * (1 - a), 1 - q], [0, e * a, e * (1 - a)]]
    return torch.tensor(rows, dtype=torch.float64)


@given(x=vectors, messages=heard, rate=rates)
def test_a_node_stays_in_the_hull_of_what_it_heard(
    x: Tensor, messages: list[tuple[str, Tensor]], rate: float
) -> None:
    u = node(x, rate)
    for sender, m in messages:
        u.arrive(sender, m)
    all_heard = torch.stack([x, *u.heard.values()])
    u.absorb_()
    slack = 1e-6 * all_heard.abs().amax(0)
    assert torch.all(u.x >= all_heard.amin(0) - slack)
    assert torch.all(u.x <= all_heard.amax(0) + slack)
    assert not u.heard


@given(x=vectors, old=vectors, new=vectors, other=vectors)
def test_the_newest_message_of_a_neighbor_wins(
    x: Tensor, old: Tensor, new: Tensor, other: Tensor
) -> None:
    twice, once = node(x), node(x)
    for sender, m in (("a", old), ("b", other), ("a", new)):
        twice.arrive(sender, m)
    for sender, m in (("a", new), ("b", other)):
        once.arrive(sender, m)
    twice.absorb_()
    once.absorb_()
    assert torch.equal(twice.x, once.x)


@given(x=vectors, m=vectors)
def test_a_message_is_heard_once_and_at_its_rate(x: Tensor, m: Tensor) -> None:
    u = node(x, 0.25)
    u.arrive("a", m)
    u.absorb_()
    assert torch.allclose(u.x, 0.75 * x + 0.25 * m, rtol=1e-5, atol=1e-5 * float(m.abs().max()))
    settled = u.x.clone()
    u.absorb_()
    assert torch.equal(u.x, settled)


def test_messages_are_copies_sent_at_each_neighbors_period() -> None:
    u, sent = node(torch.zeros(1), parent=2, child=3), []
    for t in range(1, 7):
        u.x.fill_(t)
        sent += [(t, m.receiver, m.x) for m in u.tick()]
    assert [(t, v) for t, v, _ in sent] == [
        *[(2, "parent"), (3, "child"), (4, "parent"), (6, "parent"), (6, "child")]
    ]
    assert all(float(x) == t for t, _, x in sent), "what is sent does not change any more"


def test_a_scheme_gives_each_edge_its_two_periods() -> None:
    by_level, by_direction = tree(multi_scale(100, 10)), tree(up_and_down(10, 100))
    inner = "root/2"
    seen = [dict(t.nodes[inner].node.options.periods) for t in (by_level, by_direction)]
    children = [f"root/2/{k}" for k in range(D)]
    assert seen == [
        dict.fromkeys(children, 10) | {"root": 100},
        dict.fromkeys(children, 100) | {"root": 10},
    ]
    assert [len(level) for level in by_level.levels] == [1, D, D * D]


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 99),
    jitter=st.floats(0, 0.5),
    latency_s=st.floats(0, 5),
    random=st.booleans(),
)
def test_the_same_seed_gives_the_same_trace(
    seed: int, jitter: float, latency_s: float, random: bool
) -> None:
    def run(seed: int) -> MessageTree:
        pace, cable = Pace(jitter=jitter, random_order=random), Cable(latency_s=latency_s)
        of = tree(up_and_down(2, 5), seed=seed, pace=pace, cable=cable)
        of.run(seconds=40)
        return of

    one, same, another = run(seed), run(seed), run(seed + 1)
    assert one.trace == same.trace != []
    assert torch.equal(states(one), states(same))
    assert not torch.equal(states(one), states(another))


def test_slower_wires_delay_messages_and_nobodys_steps() -> None:
    fast, slow = tree(), tree(cable=Cable(latency_s=6.5, bytes_per_s=8.0))
    for of in (fast, slow):
        of.run(ticks=20)
    assert {n.node.clock for of in (fast, slow) for n in of.nodes.values()} == {20}
    assert {time_s - sent for time_s, _, _, sent in slow.trace} == {7.0}
    assert {time_s - sent for time_s, _, _, sent in fast.trace} == {0.0}


def test_every_node_draws_its_own_randomness() -> None:
    assert len({n.noise.initial_seed() for n in tree().nodes.values()}) == 21


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_with_rate_0_leaves_are_free_sgd(momentum: float) -> None:
    of = tree(moving_rate=0.0, momentum=momentum, problem=Quadratic(size=5))
    leaf, noise = of.leaves[7], torch.Generator()
    noise.set_state(leaf.noise.get_state())
    x = of.problem.start()
    sgd = Nesterov([x], lr=ETA, momentum=momentum) if momentum else Sgd([x], lr=ETA)
    for _ in range(50):
        sgd.prepare()
        x.grad = of.problem.gradient(x, noise)
        sgd.step()
    of.run(ticks=50)
    assert torch.equal(leaf.x, x)
    assert torch.equal(of.root.x, of.problem.start())


def test_without_gradients_agreement_is_a_fixed_point() -> None:
    of = tree(up_and_down(1, 3), lr=0.0, momentum=0.9, pace=Pace(random_order=True))
    of.run(seconds=50)
    assert torch.allclose(states(of), torch.ones(21, 1))


@pytest.mark.parametrize("victim", ["root/1/2", "root/1"])
def test_a_dead_node_stops_nobody(victim: str) -> None:
    of = tree(up_and_down(1, 2), problem=Quadratic(sigma=0.0))
    of.run(ticks=5)
    of.crash(of.nodes[victim])
    last = of.nodes[victim].x.clone()
    of.run(ticks=400)
    others = [n for n in of.nodes.values() if n.name != victim]
    assert {n.node.clock for n in others} == {405}
    assert torch.equal(of.nodes[victim].x, last)
    assert max(float(n.x.abs()) for n in others) < 1e-6
    assert not [t for t, sender, *_ in of.trace if sender == victim and t > 5]


@pytest.mark.parametrize(("eta", "alpha"), [(0.1, 0.18), (0.5, 0.05), (0.01, 1.0)])
def test_levels_follow_their_three_by_three_matrix(eta: float, alpha: float) -> None:
    of = unit_starts(eta, alpha, by_level=True)
    of.run(ticks=1)
    expected = torch.diag(torch.tensor([1.0, 1.0, 1 - eta], dtype=torch.float64))
    for _ in range(30):
        of.run(ticks=1)
        expected = level_map(eta, alpha) @ expected
        for nodes, row in zip(of.levels, expected, strict=True):
            for n in nodes:
                assert float((n.x - row).abs().max()) < 1e-10


def test_without_gradients_the_map_is_a_stochastic_matrix() -> None:
    """The hull once more: rows of weights that are positive and sum to one. Columns do not."""
    m = one_step_map(unit_starts(0.0, ALPHA, by_level=False))
    assert float(m.min()) >= -1e-15
    assert float((m.sum(1) - 1).abs().max()) < 1e-12
    assert float((m.sum(0) - 1).abs().max()) > 0.1, "nothing is conserved"


def test_at_small_rates_the_map_is_the_one_of_elastic_edges() -> None:
    """``I - alpha L - eta diag(leaf)`` of 2.10, L the tree's Laplacian, up to second order."""
    of = unit_starts(1e-5, 1e-5, by_level=False)
    names = list(of.nodes)
    edges = torch.zeros(21, 21, dtype=torch.float64)
    for v in names[1:]:
        edges[names.index(v), names.index(v.rpartition("/")[0])] = 1.0
    laplacian = torch.diag((edges + edges.T).sum(1)) - edges - edges.T
    is_leaf = torch.tensor([name.count("/") == 2 for name in names], dtype=torch.float64)
    expected = torch.eye(21, dtype=torch.float64) - 1e-5 * (laplacian + torch.diag(is_leaf))
    assert float((one_step_map(of) - expected).abs().max()) < 20 * 1e-5**2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_noise_the_root_tends_to_the_minimum(scheme: str) -> None:
    of = tree(SCHEMES[scheme], problem=Quadratic(sigma=0.0))
    of.run(ticks=2200)
    assert abs(float(of.root.x)) < 1e-6


def second_moments(scheme: str, *, ticks: int = 1000) -> tuple[float, float, float]:
    """Of (root, inner, leaf), over 1000 repetitions and a whole number of 100-tick cycles."""
    of = tree(SCHEMES[scheme], problem=Quadratic(size=1000, x0=0.0), seed=3)
    of.run(ticks=500)
    seen = []
    for _ in range(ticks):
        of.run(ticks=1)
        seen.append([np.mean([float(n.x.square().mean()) for n in level]) for level in of.levels])
    root, inner, leaf = np.mean(seen, axis=0)
    return float(root), float(inner), float(leaf)


@pytest.mark.parametrize(
    ("scheme", "exact", "reference"),
    [
        ("multi-scale 10/100", (0.000668, 0.00663, 0.0460), 0.00068),
        ("up and down 10/100", (0.001280, 0.00702, 0.0519), 0.0012),
        ("up and down 1/10", (0.002957, 0.01180, 0.0471), 0.0028),
    ],
)
def test_second_moments_at_the_root_are_the_reference_ones(
    scheme: str, exact: tuple[float, float, float], reference: float
) -> None:
    """d = 4, eta = .1, alpha = .18, against the tick simulation of docs/mathematics.md, 2.10.

    ``exact``: (root, inner, leaf) from the 21 x 21 covariance, iterated apart from this code.
    What agrees: the root in all three, within 8 percent (heard in random order: .00066, .00122,
    .00277). Clocks that count messages handled miss it: .0009 for up and down 10/100. What does
    not: the leaves' .057 to .059, which is above free SGD's .0526 and hence an error of sampling.
    """
    moments = second_moments(scheme)
    assert moments == pytest.approx(exact, rel=0.04)
    assert moments[0] == pytest.approx(reference, rel=0.1)
    assert max(moments) < FREE_SGD, "a move toward others adds no fluctuation"
