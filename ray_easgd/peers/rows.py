"""A trial's numbers, out of what its workers wrote down."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ray_easgd.journal import Entry
from ray_easgd.peers.trial import Outcome

Row = dict[str, Any]

_MEDIANS = (
    *("samples_per_s", "vs_pair", "time_to_target_s", "training_to_target_s", "samples_to_target"),
    *("bytes_per_sample", "final_accuracy", "stall_s", "rejoin_s", "goodput", "first_step_s"),
    *("all_stepped_s", "peak_memory_mib"),
)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The weights that were there at that moment, tested."""

    at: float
    accuracy: float


class Steps:
    """The steps of all workers, life by life."""

    def __init__(self, entries: Mapping[str, Sequence[Entry]]) -> None:
        self.lives: dict[tuple[str, int], list[Entry]] = {}
        for entry in sorted(entries.get("step", ()), key=lambda e: e.at):
            self.lives.setdefault((entry.who, entry.pid), []).append(entry)

    def of(self, who: str) -> list[Entry]:
        """One worker's, all its lives."""
        found = [entry for (name, _), life in self.lives.items() for entry in life if name == who]
        return sorted(found, key=lambda e: e.at)

    @property
    def workers(self) -> list[str]:
        """All who ever stepped."""
        return sorted({who for who, _ in self.lives})

    def samples(self, begin: float, end: float, who: str | None = None) -> float:
        """Trained between two moments, by one worker or all."""
        return sum(
            float(np.diff(np.interp([begin, end], *_curve(life)))[0])
            for (name, _), life in self.lives.items()
            if who in (None, name)
        )


def _curve(life: Sequence[Entry]) -> tuple[list[float], list[float]]:
    return [e.at for e in life], [e.values["samples"] for e in life]


def empty_row(peer: str, scene: str, seed: int) -> Row:
    """Of one of whom nothing was measured."""
    nothing = dict.fromkeys(_MEDIANS)
    return {
        "peer": peer,
        "scene": scene,
        "seed": seed,
        **nothing,
        "worker_samples_per_s": [],
        "reason": None,
    }


def row_of(outcome: Outcome, scores: Sequence[Score], *, scene: str, target: float) -> Row:
    """As docs/benchmarks.md describes it. What was not measured is None."""
    order, steps = outcome.order, Steps(outcome.entries)
    row = empty_row(outcome.contender.name, scene, order.workload.seed)
    row |= {
        "reason": outcome.reason,
        "peak_memory_mib": outcome.peak_memory_bytes / 2**20,
    }
    if not steps.lives:
        return row | {"reason": outcome.reason or "nobody took a step"}
    firsts = {who: steps.of(who)[0].at for who in steps.workers if who in _crew(outcome)}
    begin, end = max(firsts.values()), _end_of(outcome, steps)
    row["first_step_s"] = min(firsts.values()) - outcome.began_at
    row["all_stepped_s"] = begin - outcome.began_at
    if end > begin:
        row["samples_per_s"] = steps.samples(begin, end) / (end - begin)
        row["worker_samples_per_s"] = [
            steps.samples(begin, end, who) / (end - begin) for who in steps.workers
        ]
        if outcome.bytes_between is not None:
            row["bytes_per_sample"] = outcome.bytes_between / steps.samples(begin, end)
    row |= _learned(outcome, steps, scores, min(firsts.values()), target)
    if outcome.struck:
        row |= _after_strikes(outcome, steps, begin, end)
    if outcome.grown_at is not None:
        row |= _after_growth(outcome, steps, begin, end)
    return row


def _crew(outcome: Outcome) -> set[str]:
    """Who was there from the beginning."""
    grown = outcome.grown_at is not None
    number = outcome.order.workload.num_workers if grown else outcome.order.num_workers
    return {f"worker-{rank}" for rank in range(number)}


def _end_of(outcome: Outcome, steps: Steps) -> float:
    """While everybody was at work: until the first has done its share."""
    done = [entry.at for entry in outcome.entries.get("done", ())]
    if outcome.order.workload.samples is not None and done:
        return min(done)
    return outcome.ended_at


def _learned(
    outcome: Outcome, steps: Steps, scores: Sequence[Score], first: float, target: float
) -> Row:
    hit = next((t.at for t in scores if t.accuracy >= target), None)
    final = scores[-1].accuracy if scores else None
    if hit is None:
        return {"final_accuracy": final}
    return {
        "final_accuracy": final,
        "time_to_target_s": hit - outcome.began_at,
        "training_to_target_s": hit - first,
        "samples_to_target": steps.samples(first, hit),
    }


def _after_strikes(outcome: Outcome, steps: Steps, begin: float, end: float) -> Row:
    """``stall_s``: the longest that a survivor took no step until the next strike; ``rejoin_s`` is
    the median. ``goodput``: what was trained and not lost again, over what the rate before the
    first strike would have made of the same time."""
    first = outcome.struck[0].at
    before = steps.samples(begin, first) / (first - begin)
    useful = steps.samples(begin, end) - _lost(outcome, steps)
    ends = [*(struck.at for struck in outcome.struck[1:]), end]
    stalls, rejoins = [], []
    for struck, until in zip(outcome.struck, ends, strict=True):
        survivors = [who for who in steps.workers if who != struck.who]
        stalls += [_longest_gap(steps.of(who), struck.at, until) for who in survivors]
        known = (*steps.of(struck.who), *_coordinators(outcome, struck.who))
        again = [e.at for e in known if _is_new(e, struck.at, steps)]
        rejoins += [min(again) - struck.at] if again else []
    return {
        "stall_s": max(stalls, default=None),
        "rejoin_s": statistics.median(rejoins) if rejoins else None,
        "goodput": useful / (before * (end - begin)) if before else None,
    }


def _after_growth(outcome: Outcome, steps: Steps, begin: float, end: float) -> Row:
    """``stall_s``: the longest that one of the crew took no step; ``rejoin_s``: until all who were
    wanted have stepped. ``goodput``: what was trained and not lost again, over what the rate before
    would have made, and as many times more from the growth on as there are more workers."""
    at, crew = outcome.grown_at or begin, _crew(outcome)
    before = steps.samples(begin, at) / (at - begin)
    more = outcome.order.num_workers / len(crew)
    useful = steps.samples(begin, end) - _lost(outcome, steps)
    after = [[e.at for e in steps.of(who) if e.at > at] for who in steps.workers]
    all_step = [min(moments) for moments in after if moments]
    is_whole = len(all_step) == outcome.order.num_workers
    return {
        "stall_s": max(_longest_gap(steps.of(who), at, end) for who in crew),
        "rejoin_s": max(all_step) - at if is_whole else None,
        "goodput": useful / (before * (at - begin + more * (end - at))) if before else None,
    }


def _coordinators(outcome: Outcome, who: str) -> list[Entry]:
    if who.startswith("worker"):
        return []
    return list(outcome.entries.get("coordinator", ()))


def _is_new(entry: Entry, at: float, steps: Steps) -> bool:
    """Whether that life began after the moment."""
    life = steps.lives.get((entry.who, entry.pid), [entry])
    return life[0].at > at


def _longest_gap(entries: Sequence[Entry], since: float, until: float) -> float:
    moments = [e.at for e in entries if since - 1.0 < e.at < until]
    return max((b - a for a, b in pairwise([*moments, until])), default=until - since)


def _lost(outcome: Outcome, steps: Steps) -> float:
    """Samples that were trained on, and not in the weights that were gone on from."""
    if not outcome.contender.rolls_back:
        return 0.0
    lost = 0.0
    for who in steps.workers:
        lives = [life for (name, _), life in steps.lives.items() if name == who]
        for old, new in pairwise(sorted(lives, key=lambda life: life[0].at)):
            back = old[-1].values["clock"] - new[0].values["clock"] + 1
            lost += max(0, back) * outcome.order.workload.batch_size
    return lost


def medians(rows: Sequence[Row]) -> list[Row]:
    """One row a peer: the median over its seeds of what was measured, and how many they are."""
    summary = []
    for peer in dict.fromkeys(row["peer"] for row in rows):
        own = [row for row in rows if row["peer"] == peer]
        row: Row = {"peer": peer, "runs": len(own)}
        for key in _MEDIANS:
            values = [r[key] for r in own if r[key] is not None]
            row[key] = statistics.median(values) if values else None
        reasons = [r["reason"] for r in own if r["reason"]]
        summary.append(row | {"reason": reasons[0] if reasons else None})
    return summary
