"""How far one center reaches, and how far a tree does: exchanges, traffic and staleness by workers.

    rows = scale(Study(), Costs.from_readme())["rows"]

Each row is a fleet of ``ExchangeFleet`` in the shape of a flat center or a tree, watched for a
while after a warm-up. Workers never wait: where a hub cannot follow, exchanges come late.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeVar

from ray_easgd.aggregator import Aggregator
from ray_easgd.elastic import Elastic
from ray_easgd.errors import BadInput
from ray_easgd.simulator.costs import Costs
from ray_easgd.simulator.exchange_fleet import ExchangeFleet, Tier
from ray_easgd.simulator.port import Edge

_LATENCY_S = 0.5e-3  # one way: half of a trivial actor call's round trip
_EXCHANGES = 20_000  # of all workers while watched: so many rounds of the slowest level
_ROOT_EXCHANGES = 40  # or so many at the root: one more or less is not what is measured
_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 20
_KEPT_UP = 0.95  # of the exchanges asked for: served as many, a fleet is not saturated

Row = dict[str, Any]
Tell = Callable[[str], None]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is compared. ``fan_outs`` are the trees'; a worker steps every ``step_s`` seconds.

    Leaves exchange every ``period`` steps, with the aggregator of their node and in its memory.
    That one meets its parent every ``rounds`` rounds of its children, those above every
    ``upper_rounds``: a round is one push of each child. Links, ``bits_per_s`` wide each way, carry
    what travels between nodes. A flat center's workers are all on other nodes.
    """

    sizes: tuple[int, ...] = (2_700_000,)
    bits_per_s: tuple[float, ...] = (1e9, 10e9)
    workers: tuple[int, ...] = (16, 64, 256, 1024, 4096)
    fan_outs: tuple[int, ...] = (8, 16, 32)
    step_s: float = 0.1
    period: int = 16
    rounds: int = 4
    upper_rounds: int = 1
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A flat center with a ``period`` of its workers', or a tree with a ``fan_out``."""

    name: str
    period: int
    fan_out: int | None = None


def scale(study: Study, costs: Costs, *, tell: Tell = lambda line: None) -> dict[str, Any]:
    """The rows, and where each shape is saturated. The same study gives the same rows."""
    began, rows = time.perf_counter(), []
    for n, bits_per_s, shape, p in product(
        study.sizes, study.bits_per_s, shapes(study), study.workers
    ):
        tell(f"scale: n={n:,}, {bits_per_s / 1e9:g} Gbit/s, {shape.name}, {p} workers")
        rows.append(measure(study, costs, shape, n=n, bits_per_s=bits_per_s, workers=p))
    return {
        "costs": costs.source,
        "step_ms": 1e3 * study.step_s,
        "reach": list(_reaches(study, costs, rows)),
        "rows": rows,
        "wall_s": time.perf_counter() - began,
    }


def shapes(study: Study) -> list[Shape]:
    """Flat at the leaves' period; flat at that of a tree's lowest link; the trees."""
    at_root = study.period * study.rounds
    return [
        Shape(name="flat", period=study.period),
        Shape(name=f"flat, period {at_root}", period=at_root),
        *(Shape(name=f"tree of {d}", period=study.period, fan_out=d) for d in study.fan_outs),
    ]


def tiers_of(study: Study, shape: Shape, workers: int, near: Edge, far: Edge) -> list[Tier]:
    """Root first. ``near`` is an edge within a node, ``far`` one between nodes."""
    if shape.fan_out is None:
        return [Tier(fan_out=workers, period=shape.period, edge=far)]
    fan_outs = _split(workers, shape.fan_out)
    tiers = [Tier(fan_out=fan_outs[-1], period=shape.period, edge=near)]
    rounds = study.rounds
    for fan_out in fan_outs[-2::-1]:
        period = rounds * tiers[0].fan_out
        tiers.insert(0, Tier(fan_out=fan_out, period=period, edge=far))
        rounds = study.upper_rounds
    return tiers


def measure(
    study: Study, costs: Costs, shape: Shape, *, n: int, bits_per_s: float, workers: int
) -> Row:
    """One fleet, warmed up and watched."""
    near = Edge(hub_s=costs.of("shared_memory", n))
    far = Edge(
        hub_s=costs.of("object_store", n),
        vector_bytes=4.0 * n,
        bytes_per_s=bits_per_s / 8,
        latency_s=_LATENCY_S,
    )
    tiers = tiers_of(study, shape, workers, near, far)
    asked_s = list(_asked_periods(tiers, study.step_s))
    fleet = ExchangeFleet(tiers=tiers, step_s=study.step_s, seed=study.seed)
    warm_s, watched_s = _long_enough(tiers, study.step_s)
    fleet.run(seconds=warm_s)
    before = _look(fleet)
    fleet.run(seconds=watched_s)
    seen = _look(fleet).since(before)
    gaps_s = [_gap_s(c, watched_s, s) for c, s in zip(seen.pushes, seen.children, strict=True)]
    rates = [passed / watched_s for passed in seen.line_bytes]
    return {
        "n": n,
        "gbit_per_s": bits_per_s / 1e9,
        "shape": shape.name,
        "workers": workers,
        "fan_outs": "x".join(str(t.fan_out) for t in tiers),
        "steps_per_s": seen.steps / watched_s,
        "exchanges_per_s": seen.pushes[-1] / watched_s,
        "served_share": min(1.0, *(a / g for a, g in zip(asked_s, gaps_s, strict=True))),
        "late_share": max(seen.late_shares),
        "period_steps": gaps_s[-1] / study.step_s,
        "root_mb_per_s": rates[0] / 1e6,
        "root_line_share": rates[0] / 2 / (bits_per_s / 8),
        "busiest_line_share": max(rates) / 2 / (bits_per_s / 8),
        "root_staleness": seen.staleness[0] / max(1, seen.pushes[0]),
        "leaf_staleness": seen.staleness[-1] / max(1, seen.pushes[-1]),
        "steps_to_root": sum(gaps_s) / study.step_s,
        "watched_s": watched_s,
    }


def _split(workers: int, fan_out: int) -> list[int]:
    """Root first: full hubs from the leaves up, until the root has at most ``fan_out``."""
    if workers <= fan_out:
        return [workers]
    above, rest = divmod(workers, fan_out)
    if rest:
        raise BadInput(
            "--workers", workers, f"nodes of {fan_out} do not divide it", "Take a multiple."
        )
    return [*_split(above, fan_out), fan_out]


def _asked_periods(tiers: list[Tier], step_s: float) -> Iterator[float]:
    """Seconds between two exchanges of a child, root first, if every hub could follow."""
    periods = [tiers[-1].period * step_s]
    for tier, below in zip(tiers[-2::-1], tiers[:0:-1], strict=True):
        periods.insert(0, tier.period / below.fan_out * periods[0])
    yield from periods


def _long_enough(tiers: list[Tier], step_s: float) -> tuple[float, float]:
    """To warm up, so that news of each level has reached the root; and to watch: seconds.

    Watched are whole rounds of the slowest level.
    """
    periods_s = list(_slowest_periods(tiers, step_s))
    round_s = max(periods_s)
    exchanges = math.prod(tier.fan_out for tier in tiers) * round_s / periods_s[0]
    rounds = max(_EXCHANGES / exchanges, _ROOT_EXCHANGES / tiers[0].fan_out, _FEWEST_ROUNDS)
    return 2.0 * sum(periods_s), round_s * min(_MOST_ROUNDS, math.ceil(rounds))


def _slowest_periods(tiers: list[Tier], step_s: float) -> Iterator[float]:
    """The same from the leaves up, where a hub can be the slower one."""
    period_s = tiers[-1].period * step_s
    for tier, below in zip(reversed(tiers), [None, *tiers[:0:-1]], strict=True):
        if below is not None:
            period_s *= tier.period / below.fan_out
        period_s = max(period_s, tier.fan_out * tier.edge.exchange_s)
        yield period_s


def _gap_s(pushes: int, watched_s: float, children: int) -> float:
    """Between two pushes of one child, on average."""
    return watched_s * children / pushes if pushes else math.inf


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """Counted up to a moment; one entry a level, root first, but of ``line_bytes`` one a hub."""

    steps: float
    line_bytes: list[float]
    children: list[int]
    pushes: list[int]
    staleness: list[int]
    exchanges: list[int]
    late: list[int]

    def since(self, before: _Sums) -> _Sums:
        return replace(
            self,
            steps=self.steps - before.steps,
            line_bytes=_less(self.line_bytes, before.line_bytes),
            pushes=_less(self.pushes, before.pushes),
            staleness=_less(self.staleness, before.staleness),
            exchanges=_less(self.exchanges, before.exchanges),
            late=_less(self.late, before.late),
        )

    @property
    def late_shares(self) -> list[float]:
        """Of the exchanges that took place or are still awaited, those that were late."""
        pairs = zip(self.late, self.exchanges, strict=True)
        return [min(1.0, late / done) if done else float(late > 0) for late, done in pairs]


def _less(now: Sequence[Number], then: Sequence[Number]) -> list[Number]:
    return [a - b for a, b in zip(now, then, strict=True)]


def _look(fleet: ExchangeFleet) -> _Sums:
    levels = [[_tie(node.hub) for node in level] for level in fleet.nodes[1:]]
    levels.append([worker.elastic for worker in fleet.workers])
    return _Sums(
        steps=fleet.steps_done(),
        line_bytes=fleet.passed_bytes(),
        children=[len(ties) for ties in levels],
        pushes=[tally.pushes for tally in fleet.tallies],
        staleness=[tally.staleness for tally in fleet.tallies],
        exchanges=[sum(tie.counts.exchanges for tie in ties) for ties in levels],
        late=[sum(tie.counts.exchanges_late for tie in ties) for ties in levels],
    )


def _tie(hub: object) -> Elastic:
    assert isinstance(hub, Aggregator)
    assert hub.tie is not None
    return hub.tie


def _reaches(study: Study, costs: Costs, rows: list[Row]) -> Iterator[Row]:
    """For each size, link and shape the most workers that it serves, and what the root carries."""
    for n, bits_per_s, shape in product(study.sizes, study.bits_per_s, shapes(study)):
        mine = [
            row
            for row in rows
            if (row["n"], row["gbit_per_s"], row["shape"]) == (n, bits_per_s / 1e9, shape.name)
        ]
        served = [row["workers"] for row in mine if row["served_share"] >= _KEPT_UP]
        busy_s = max(4.0 * n * 8 / bits_per_s, costs.of("object_store", n))
        most = max(mine, key=lambda row: row["workers"])
        yield {
            "n": n,
            "gbit_per_s": bits_per_s / 1e9,
            "shape": shape.name,
            "serves_workers": max(served, default=0),
            "by_arithmetic": None if shape.fan_out else int(shape.period * study.step_s / busy_s),
            "at_workers": most["workers"],
            "served_share": most["served_share"],
            "root_mb_per_s": most["root_mb_per_s"],
            "busiest_line_share": most["busiest_line_share"],
        }
