"""What is done to a run on purpose, in which order, and what the journals say of the time after."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ray_easgd.journal import Entry

KINDS = (
    "worker_kill",
    "worker_stop",
    "aggregator_kill",
    "center_kill",
    "controller_kill",
    "node_loss",
    "drain",
    "join",
    "leave",
)

_LONG_S = 1.0  # who does not step for so long beside an outage has waited for it

Process = tuple[str, int]
"""Who, and the process id: one life."""
Steps = list[tuple[float, int]]
"""Of one worker: moments, and its clock then."""


@dataclass(frozen=True, kw_only=True)
class Incident:
    """A fault that was put in at Unix time ``at``, and was over, for all, at ``back_at``.

    ``cleared_at``: what was taken away was there again, or in a successor; ``touched`` are the
    workers it was done to. ``failed`` says what did not come back.
    """

    kind: str
    victim: str
    at: float
    cleared_at: float
    back_at: float
    touched: frozenset[Process] = frozenset()
    failed: str = ""


def schedule(kinds: Sequence[str], rounds: int, seed: int) -> list[str]:
    """Each kind once a round, in an order of its own; nobody leaves before one has joined."""
    chance, plan = random.Random(seed), []
    for _ in range(rounds):
        order = list(kinds)
        chance.shuffle(order)
        if {"join", "leave"} <= set(order):
            i, j = order.index("join"), order.index("leave")
            order[min(i, j)], order[max(i, j)] = "join", "leave"
        plan += order
    return plan


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """Of all incidents together; None where there was none of the kind that tells."""

    step_rate_ratio: float | None
    step_gap_ratio: float | None
    replacement_first_step_s: float | None
    exchange_gap_s: float | None
    who_waited: tuple[str, ...]


def aftermath(entries: Iterable[Entry], incidents: Sequence[Incident]) -> Aftermath:
    """The worst of each number.

    ``step_rate_ratio``: the others' steps while a worker is stopped over those in as long before;
    ``step_gap_ratio``: their longest gap between two steps, likewise.
    ``replacement_first_step_s``: from a worker's kill to the first step in its place.
    ``exchange_gap_s``: the longest time without an exchange at the center after its kill.
    """
    steps: dict[Process, Steps] = {}
    answers: list[float] = []
    for entry in entries:
        if entry.kind == "step":
            steps.setdefault((entry.who, entry.pid), []).append((entry.at, entry.values["clock"]))
        elif entry.kind == "answered" and entry.values["hub"] == "center":
            answers.append(entry.at)
    answers.sort()
    stops = [i for i in incidents if i.kind == "worker_stop"]
    ratios = [r for i in stops for r in _ratios(steps, i, _rate)]
    step_gaps = [r for i in stops for r in _ratios(steps, i, _gap)]
    restarts = [i.cleared_at - i.at for i in incidents if i.kind == "worker_kill" and not i.failed]
    gaps = [_longest_gap(answers, i) for i in incidents if i.kind == "center_kill"]
    return Aftermath(
        step_rate_ratio=sum(ratios) / len(ratios) if ratios else None,
        step_gap_ratio=max(step_gaps, default=None),
        replacement_first_step_s=max(restarts, default=None),
        exchange_gap_s=max(gaps, default=None),
        who_waited=tuple(word for i in incidents for word in _waited(steps, i)),
    )


def _waited(steps: dict[Process, Steps], incident: Incident) -> list[str]:
    """Who was at work before and after and took no step between, though nothing was done to him."""
    if incident.failed or incident.cleared_at - incident.at < _LONG_S:
        return []
    found = []
    for process, taken in steps.items():
        times = [at for at, _ in taken]
        before = any(incident.at - _LONG_S <= t < incident.at for t in times)
        after = any(t > incident.cleared_at for t in times)
        during = any(incident.at < t <= incident.cleared_at for t in times)
        if before and after and not during and process not in incident.touched:
            found.append(f"{process[0]} took no step during {incident.kind} of {incident.victim}")
    return found


def _ratios(
    steps: dict[Process, Steps], incident: Incident, measure: Callable[[Steps], float]
) -> list[float]:
    """Each other worker's measure during, over that of as long before."""
    length, ratios = incident.cleared_at - incident.at, []
    for process, taken in steps.items():
        before = _between(taken, incident.at - length, incident.at)
        during = _between(taken, incident.at, incident.cleared_at)
        if before is None or during is None or len(before) < 2 or process in incident.touched:
            continue
        ratios.append(measure(during) / max(measure(before), 1e-9))
    return ratios


def _between(taken: Steps, start: float, stop: float) -> Steps | None:
    """A worker's steps between two moments; None where it was not there for all of it."""
    there = any(at < start for at, _ in taken) and any(at > stop for at, _ in taken)
    return [(at, clock) for at, clock in taken if start <= at <= stop] if there else None


def _rate(taken: Steps) -> float:
    """Steps per second."""
    if len(taken) < 2:
        return 0.0
    (first, low), (last, high) = taken[0], taken[-1]
    return (high - low) / max(last - first, 1e-9)


def _gap(taken: Steps) -> float:
    """Seconds between two steps, at most."""
    return max((b - a for (a, _), (b, _) in pairwise(taken)), default=float("inf"))


def _longest_gap(answers: list[float], incident: Incident) -> float:
    """Between exchanges, from the last one before the incident to its end."""
    last = max((at for at in answers if at <= incident.at), default=incident.at)
    inside = [last, *(at for at in answers if incident.at < at <= incident.back_at)]
    return max((b - a for a, b in pairwise([*inside, incident.back_at])), default=0.0)
