"""What the doctor finds, and the words that its rules share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

Cause = Literal[
    "controller_stopped",
    "hub_dead",
    "hub_stopped",
    "worker_stopped",
    "worker_stuck",
    "worker_lost",
    "worker_starting",
    "worker_slow",
    "diverging",
    "link_slow",
    "exchanges_late",
    "no_resources",
    "shm_too_small",
    "memory_too_small",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong: what, with whom, how that is known, and what to do next."""

    cause: Cause
    subject: str
    evidence: str
    remedy: str


def size(num_bytes: float) -> str:
    """``10.8 MB``."""
    value = float(num_bytes)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def listed(names: Iterable[str], most: int = 4) -> str:
    """The first few, and how many more."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def amounts(resources: Mapping[str, float]) -> str:
    """``1 CPU and 1 GPU``."""
    return " and ".join(f"{n:g} {kind}" for kind, n in sorted(resources.items())) or "nothing"


def median_of_others(numbers: Mapping[str, float], name: str) -> float | None:
    """The median without one of them; None where there are no others."""
    others = [number for other, number in numbers.items() if other != name]
    return median(others) if others else None
