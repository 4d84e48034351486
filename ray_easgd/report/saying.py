"""What goes on in a run, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import median
from typing import Any, TypeGuard

import yaml

from ray_easgd.display.tree import USUAL, TreeNode
from ray_easgd.report.tiles import duration, short
from ray_easgd.report.words import count, listed, number

_SLOW = 0.6  # of the median pace


def how_it_goes(
    nodes: Sequence[TreeNode], samples: int, total: int | None, samples_per_s: float
) -> str:
    """The fleet, and how far the run is."""
    return f"{_fleet(split(nodes)[1])} {_way(samples, total, samples_per_s)}"


@lru_cache(maxsize=8)
def aim(config: str) -> str:
    """What ends the run beside its samples; empty where nothing does, or nobody knows."""
    seconds, accuracy = map(_limits(config).get, ("seconds", "accuracy"))
    ends = [
        f"after {duration(seconds)} of training" if _is_number(seconds) else "",
        f"once the held-out accuracy is {accuracy:.1%}" if _is_number(accuracy) else "",
    ]
    said = " or ".join(filter(None, ends))
    return f"It ends {said}." if said else ""


def _limits(config: str) -> dict[str, Any]:
    try:
        known = yaml.safe_load(config)
    except yaml.YAMLError:
        return {}
    stop = known.get("stop") if isinstance(known, dict) else None
    return stop if isinstance(stop, dict) else {}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def out_of_the_ordinary(nodes: Sequence[TreeNode]) -> list[str]:
    """What a person would want to know of, a sentence each."""
    hubs, workers = split(nodes)
    return [*_hubs(hubs), *_odd(workers), *_slow(workers)]


def split(nodes: Sequence[TreeNode]) -> tuple[list[TreeNode], list[TreeNode]]:
    """Hubs, and workers."""
    return [n for n in nodes if not n.is_worker], [n for n in nodes if n.is_worker]


def pace(workers: Sequence[TreeNode]) -> float:
    """Gradient steps a second of those that train, together."""
    return sum(w.steps_per_s for w in workers if w.state in USUAL and w.steps_per_s > 0)


def _fleet(workers: Sequence[TreeNode]) -> str:
    training = [w for w in workers if w.state in USUAL]
    starting = [w.name for w in workers if w.state == "starting"]
    if not workers:
        return "No worker has reported yet: processes are starting, or wait for room."
    if not training and starting:
        return (
            f"{count(len(starting), 'worker')} {_are(len(starting))} starting; imports and the "
            "model's first step take a while."
        )
    together = "together " if len(training) > 1 else ""
    first = (
        f"{count(len(training), 'worker')} {_are(len(training))} training, "
        f"{together}at {number(pace(training))} gradient steps per second."
    )
    return first + (f" {listed(starting)} {_are(len(starting))} starting." if starting else "")


def _way(samples: int, total: int | None, samples_per_s: float) -> str:
    if not samples and not total:
        return ""
    if not total:
        return f"The center has absorbed {samples:,} samples."
    share = min(1.0, samples / total)
    said = f"The center has absorbed {short(samples)} of {short(total)} samples ({share:.0%})"
    if samples_per_s > 0 and samples < total:
        left = duration((total - samples) / samples_per_s)
        return f"{said}; at the present {short(samples_per_s)} a second the rest takes {left}."
    return f"{said}."


def _hubs(hubs: Sequence[TreeNode]) -> list[str]:
    return [
        f"{hub.name} gave {hub.state}; its children keep stepping and exchange again once it "
        "answers."
        for hub in hubs
        if hub.state not in {*USUAL, "starting"}
    ]


def _odd(workers: Sequence[TreeNode]) -> list[str]:
    """Grouped by state: ``no news for 42 s`` is one state per worker."""
    leaving = [w.name for w in workers if w.state in {"leaving", "left"}]
    silent = [w for w in workers if w.state not in {*USUAL, "starting", "leaving", "left"}]
    found = [f"{w.name}: {w.state}; nobody waits for it." for w in silent[:3]]
    if len(silent) > 3:
        found.append(f"{len(silent) - 3} more workers are in trouble; nobody waits for them.")
    if leaving:
        found.append(f"{listed(leaving)} {_are(len(leaving))} leaving after a last exchange.")
    return found


def _slow(workers: Sequence[TreeNode]) -> list[str]:
    paces = {w.name: w.steps_per_s for w in workers if w.state in USUAL and w.steps_per_s > 0}
    if len(paces) < 3:
        return []
    middle = median(paces.values())
    slowest = min(paces, key=lambda name: paces[name])
    if paces[slowest] >= _SLOW * middle:
        return []
    said = f"{slowest} is the slowest, at {paces[slowest]:.3g} steps a second against a median of"
    return [f"{said} {middle:.3g}; it holds nobody up."]


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
