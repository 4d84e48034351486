"""The shape of a tree: which hubs there are, whose children they are, and whether it holds still.

Level k of ``topology.levels`` is about the children of hubs at depth k; the center has depth 0.
See thesis chapter 6, and docs/mathematics.md, 2.10 and 2.11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ray_easgd.errors import BadConfig
from ray_easgd.moving_rate import moving_rate
from ray_easgd.sections import LevelSection
from ray_easgd.trace import CENTER

_SLOWER_UPWARDS = 4  # an aggregator of a default tree meets the center after so many rounds


@dataclass(frozen=True, slots=True)
class HubSpot:
    """A place for a hub: ``index`` among those at its ``depth``, under ``parent`` (of that name).

    ``level`` is about its children, ``own`` about itself and its siblings; the center has none.
    """

    name: str
    depth: int
    index: int
    parent: str | None
    level: LevelSection
    own: LevelSection | None


def tree_of(levels: Sequence[LevelSection], num_workers: int) -> tuple[HubSpot, ...]:
    """The hubs that so many workers need, parents first. Without levels the center alone.

    The tree grows and shrinks with the fleet: from the workers up, each level has as few hubs as
    its fan-out allows, and they share their children evenly; above them all is one center.
    """
    levels = tuple(levels) or (LevelSection(fan_out=max(1, num_workers)),)
    spots: list[HubSpot] = []
    above = 1
    for depth, count in enumerate(_hubs_by_depth(levels, num_workers)):
        for k in range(count):
            parent = None if not depth else _name(depth - 1, k * above // count)
            own = levels[depth - 1] if depth else None
            spots.append(HubSpot(_name(depth, k), depth, k, parent, levels[depth], own))
        above = count
    return tuple(spots)


def _hubs_by_depth(levels: Sequence[LevelSection], num_workers: int) -> list[int]:
    counts, children = [], max(1, num_workers)
    for level in reversed(levels[1:]):
        children = math.ceil(children / level.fan_out)
        counts.append(children)
    return [1, *reversed(counts)]


def _name(depth: int, index: int) -> str:
    return f"aggregator-{depth}-{index}" if depth else CENTER


@dataclass(frozen=True, slots=True)
class HubLoad:
    """A hub that a worker may join: the id of its node, and how many workers it has."""

    name: str
    node: str
    num_children: int


def choose_hub(hubs: Sequence[HubLoad], node: str) -> str:
    """The name of a worker's hub: of those on its ``node``, else of all, the least loaded.

    Of equals the first. At least one hub.
    """
    here = [hub for hub in hubs if hub.node == node]
    return min(here or hubs, key=lambda hub: hub.num_children).name


def levels_per_node(num_nodes: int, num_workers: int, period: int) -> tuple[LevelSection, ...]:
    """A tree with an aggregator on each node, for workers that exchange every ``period`` steps.

    Of a fleet without two workers to a node it would save nothing: no levels.
    """
    if num_nodes < 2 or num_workers <= num_nodes:
        return ()
    on_each = math.ceil(num_workers / num_nodes)
    upper = LevelSection(fan_out=num_nodes, period=_SLOWER_UPWARDS * on_each, placement="node")
    return (upper, LevelSection(fan_out=on_each, period=period))


def steps_between(levels: Sequence[LevelSection]) -> list[float]:
    """Gradient steps between two exchanges of one child, level by level from the root.

    A worker's period counts its steps, an aggregator's the exchanges it has served; a level
    without a period of its own counts as 1.
    """
    if not levels:
        return []
    steps = [float(levels[-1].up or 1)]
    for level, below in zip(reversed(levels[:-1]), reversed(levels[1:]), strict=True):
        steps.append(steps[-1] * (level.up or 1) / below.fan_out)
    return steps[::-1]


def hurried(levels: Sequence[LevelSection]) -> str | None:
    """What to tell a person whose periods shrink upwards; None where they do not."""
    steps = steps_between(levels) if all(level.up for level in levels) else []
    for k, (upper, lower) in enumerate(pairwise(steps)):
        if upper < lower:
            fewest = levels[k + 1].fan_out
            return (
                f"topology.levels.{k}.period = {levels[k].up}: hubs meet their parent every "
                f"{upper:g} gradient steps, more often than their children meet them (every "
                f"{lower:g}), and carry the same news again. Set it to {fewest} or more: it counts "
                "the exchanges a hub has served."
            )
    return None


def edge_rates(
    levels: Sequence[LevelSection], *, beta: float, fixed_rate: float | None
) -> list[float]:
    """The moving rate of each level's edges when each hub has as many children as it may."""
    return [
        level.moving_rate
        or (
            moving_rate(beta, level.fan_out, has_parent=depth > 0)
            if fixed_rate is None
            else fixed_rate
        )
        for depth, level in enumerate(levels)
    ]


def swing(fan_outs: Sequence[int], rates: Sequence[float]) -> float:
    """The largest eigenvalue of the Laplacian of a tree whose edges weigh their moving rates.

    Averaging alone multiplies that mode by ``1 - swing`` when all edges meet at once, so it dies
    out only below 2; ``alpha (d + 1 + sqrt d)`` of a two-level tree (docs/mathematics.md, 2.10).
    Children of one hub that move alike make a chain of one node a depth, with these entries.
    """
    import numpy as np

    inward = [0.0, *rates]
    outward = [d * rate for d, rate in zip(fan_outs, rates, strict=True)] + [0.0]
    between = [math.sqrt(d) * rate for d, rate in zip(fan_outs, rates, strict=True)]
    chain = np.diag([a + b for a, b in zip(inward, outward, strict=True)])
    chain -= np.diag(between, 1) + np.diag(between, -1)
    return float(np.linalg.eigvalsh(chain)[-1])


def refuse_swing(levels: Sequence[LevelSection], *, beta: float, fixed_rate: float | None) -> None:
    """BadConfig where a tree's edges pull apart, or harder together than averaging can bear."""
    rates = edge_rates(levels, beta=beta, fixed_rate=fixed_rate)
    if any(level.moving_rate for level in levels):
        field, value = "topology.levels", [level.moving_rate for level in levels]
    elif fixed_rate is not None:
        field, value = "algorithm.moving_rate", [fixed_rate]
    else:
        field, value = "algorithm.beta", [beta]
    if min(rates) <= 0:
        raise BadConfig(
            field,
            value,
            "an edge of a tree with such a moving rate drives its ends apart",
            "Take a rate above 0, or leave it away for beta / (children + parent).",
        )
    found = swing([level.fan_out for level in levels], rates)
    if found >= 2.0:
        shown = ", ".join(f"{rate:.4g}" for rate in rates)
        raise BadConfig(
            field,
            value,
            f"with the moving rates {shown} from the root down, hubs and their children swing ever "
            f"wider: the largest eigenvalue of the tree's Laplacian is {found:.4g}, and has to "
            "stay below 2",
            f"Make each rate at most {1.9 / found:.3g} times as large, or leave them away for "
            "beta / (children + parent).",
        )
