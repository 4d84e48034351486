"""``benchmark exchange``: what one elastic exchange costs, next to a memcpy and an all-reduce.

Each row is measured by workers that do nothing but exchange, after a tenth of the exchanges to
warm up, over the time in which all of them were exchanging:

- ``p50_ms``, ``p99_ms``: how long one worker waits for one exchange; ``exchanges_per_s``: what all
  workers complete in a second.
- ``memcpy_ratio``: aggregate wall time per exchange, ``1 / exchanges_per_s``, over the time of
  one memcpy of 4n bytes: the median of 21 in one process while the rest is idle, taken right
  before and right after the row, and averaged.
- ``allreduce_ratio``: the median time of a gloo all-reduce of n float32 over ``p50_ms``: how long
  *one worker* waits for the one and for the other, at the same number of processes. An
  all-reduce of one process is nothing, so one worker is compared with 2 processes. None over a
  link: its processes are on one machine.
- ``bare_ray_ratio``, ``bare_ray_ping_p50_ms``: the same two of Ray alone (``bare``), with as many
  workers, right after the row; float32 through the object store on one machine only.
- ``ping_p50_ms``: round trip of a control call to the center while the exchanges go on.
- ``store_growth_bytes``: object store in use after all exchanges of the row less what was in use
  after the first tenth, nothing under way at either moment.
- ``left_out_share``: of the elements to exchange, those that a worker left to its next exchange
  because another was at them.
- ``line_share``, ``step_rate_ratio``: over a link only, see ``link_driver``.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

from actors.benchmark.bare import bare_hub
from actors.benchmark.cases import (
    FLOAT32,
    OBJECT_STORE,
    Case,
    Choice,
    choose_cases,
    choose_link_cases,
)
from actors.benchmark.stage import Stage, staged
from actors.benchmark.store import bytes_in_use
from actors.benchmark.window import Pace, Window, pace
from actors.benchmark.yardsticks import allreduce_s, memcpy_s
from actors.cluster import connected
from ray_easgd.config import Config

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.benchmark.worker import BenchmarkWorker

Tell = Callable[[str], None]
Row = dict[str, Any]

_AT_LEAST_S = 1.0
_BETWEEN_PINGS_S = 0.025


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What the workers of one row brought back."""

    windows: Sequence[Window]
    ping_s: float
    store_growth_bytes: int
    exchanges: int


def run_exchange(choice: Choice, *, link: str | None, tell: Tell) -> dict[str, list[Row]]:
    """The rows asked for; behind a link of that rate where one is given."""
    if link is not None:
        from actors.benchmark.link import measure_over_link

        return {"rows": measure_over_link(choose_link_cases(choice), rate=link, tell=tell)}
    return {"rows": measure_rows(choose_cases(choice), tell=tell)}


def measure_rows(cases: Sequence[Case], *, tell: Tell) -> list[Row]:
    """One row for each case, on one node."""
    most = max(case.workers for case in cases)
    config = Config.build({"address": "local", "fleet": {"workers": most}})
    with connected(config, log_to_driver=False), staged(most) as stage:
        reduces = _allreduces(cases, tell)
        rows = []
        for case in cases:
            tell(f"exchange: {case}")
            reduce_s = reduces[_world(case.workers)][case.n]
            rows.append(measure_row(stage, case, allreduce_s=reduce_s))
        return rows


def measure_row(stage: Stage, case: Case, *, allreduce_s: float | None) -> Row:
    """One case, between two looks at memcpy; ``allreduce_s`` None over a link."""
    before = memcpy_s(case.n)
    measured = _exchange(stage, case)
    memcpy = (before + memcpy_s(case.n)) / 2
    is_linked = allreduce_s is None
    bare = None if is_linked or not _is_plain(case) else _exchange_bare(stage, case)
    found = pace(measured.windows)
    return {
        "transport": case.transport,
        "format": case.format,
        "n": case.n,
        "workers": case.workers,
        "p50_ms": 1e3 * found.p50_s,
        "p99_ms": 1e3 * found.p99_s,
        "exchanges_per_s": found.exchanges_per_s,
        "memcpy_ratio": 1 / (found.exchanges_per_s * memcpy),
        "allreduce_ratio": None if allreduce_s is None else allreduce_s / found.p50_s,
        "ping_p50_ms": 1e3 * measured.ping_s,
        "store_growth_bytes": (
            measured.store_growth_bytes if case.transport == OBJECT_STORE else None
        ),
        "bare_ray_ratio": None if bare is None else 1 / (bare[0].exchanges_per_s * memcpy),
        "bare_ray_ping_p50_ms": None if bare is None else 1e3 * bare[1],
        "line_share": None,
        "step_rate_ratio": None,
        "left_out_share": _left_out_share(measured.windows, case.n),
        "exchanges": measured.exchanges,
        "sent_bytes_per_s": sum(w.bytes_sent / w.seconds for w in measured.windows),
        "received_bytes_per_s": sum(w.bytes_received / w.seconds for w in measured.windows),
        "memcpy_ms": 1e3 * memcpy,
        "allreduce_ms": None if allreduce_s is None else 1e3 * allreduce_s,
    }


def _left_out_share(windows: Sequence[Window], n: int) -> float:
    """Of all elements to exchange, those left to a worker's next exchange."""
    return sum(w.left_out for w in windows) / (n * sum(w.exchanges for w in windows))


def _exchange(stage: Stage, case: Case) -> Measured:
    first = max(2, case.exchanges // 10)
    rest = case.exchanges - first
    with _tied(stage, case) as workers:
        warm = ray.get([w.exchange.remote(_share(first, case), 0.0) for w in workers])
        in_use = bytes_in_use()
        under_way = [w.exchange.remote(_share(rest, case), _AT_LEAST_S) for w in workers]
        ping_s = _ping_until_done(stage.center.status.remote, under_way)
        windows = ray.get(under_way)
        return Measured(
            windows=windows,
            ping_s=ping_s,
            store_growth_bytes=bytes_in_use() - in_use,
            exchanges=sum(w.exchanges for w in [*warm, *windows]),
        )


def _is_plain(case: Case) -> bool:
    return case.transport == OBJECT_STORE and case.format == FLOAT32


def _exchange_bare(stage: Stage, case: Case) -> tuple[Pace, float]:
    """The pace of Ray alone, and the median of its pings in seconds."""
    first = max(2, case.exchanges // 10)
    workers = stage.workers[: case.workers]
    with bare_hub(stage.run, case.n) as hub:

        def begin(exchanges: int, at_least_s: float) -> list[Any]:
            share = _share(exchanges, case)
            return [w.exchange_bare.remote(hub, case.n, share, at_least_s) for w in workers]

        ray.get(begin(first, 0.0))
        under_way = begin(case.exchanges - first, _AT_LEAST_S)
        ping_s = _ping_until_done(hub.ping.remote, under_way)
        return pace(ray.get(under_way)), ping_s


@contextmanager
def _tied(stage: Stage, case: Case) -> Iterator[list[ActorProxy[BenchmarkWorker]]]:
    """The row's workers, tied to a fresh hub until the block ends."""
    edges = stage.edges(case.workers, transport=case.transport, wire_format=case.format)
    workers = stage.workers[: case.workers]
    ray.get([w.tie_vector.remote(e, case.n) for w, e in zip(workers, edges, strict=True)])
    yield workers
    stage.untie(workers)


def _share(exchanges: int, case: Case) -> int:
    return math.ceil(exchanges / case.workers)


def _ping_until_done(ping: Callable[[], Any], under_way: Sequence[Any]) -> float:
    """The median round trip of a control call while the exchanges go on, in seconds."""
    times, pending = [], list(under_way)
    while pending:
        began = time.perf_counter()
        ray.get(ping())
        times.append(time.perf_counter() - began)
        _, pending = ray.wait(pending, num_returns=len(pending), timeout=_BETWEEN_PINGS_S)
    return statistics.median(times)


def _world(workers: int) -> int:
    """Processes of the all-reduce that so many workers are compared with."""
    return max(2, workers)


def _allreduces(cases: Sequence[Case], tell: Tell) -> dict[int, dict[int, float]]:
    """Median seconds by number of processes and n; one start of the processes for all n."""
    sizes: dict[int, set[int]] = {}
    for case in cases:
        sizes.setdefault(_world(case.workers), set()).add(case.n)
    reduces = {}
    for world, ns in sizes.items():
        tell(f"gloo all-reduce: {world} processes")
        reduces[world] = allreduce_s(world, sorted(ns))
    return reduces
