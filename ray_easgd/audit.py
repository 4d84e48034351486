"""What must be true of a run whatever was done to it, checked against its children's journals.

The center's word is its last checkpoint: the vector, and the last sequence it applied of each
incarnation. What its children sent and were answered they wrote down themselves, before and after.
Nothing here asks the center how it came there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from ray_easgd.journal import Entry
from ray_easgd.progress import Progress
from ray_easgd.protocol import Interval, Version

_EPSILON = 2.0**-24
_ROUNDINGS = 8.0  # how many standard deviations of rounding a sound ledger may be off


@dataclass(frozen=True, kw_only=True)
class Account:
    """The center in the end, by its last checkpoint.

    ``checksum`` is ``r . c``, ``norm`` the Euclidean one of ``c``; ``applied`` maps an incarnation
    to the last sequence; ``samples`` counts distinct ones.
    """

    version: Version
    checksum: float
    norm: float
    applied: Mapping[int, int]
    samples: int


@dataclass
class _Life:
    """A child's, by its journal: checksums of what it sent, and what it was told had arrived."""

    child: str
    sent: dict[int, float] = field(default_factory=dict)
    carried: dict[int, tuple[Interval, ...]] = field(default_factory=dict)
    norms: list[float] = field(default_factory=list)
    acknowledged: int = 0
    epoch: int = 0  # of the newest acknowledgement


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found: each invariant's verdict, the numbers behind them, and words for the rest."""

    invariants: dict[str, bool]
    pushes_sent: int
    pushes_applied: int
    pushes_written_off: int
    median_push_norm: float
    ledger_gap: float
    rounding: float
    findings: tuple[str, ...] = ()


def audit(entries: Iterable[Entry], center: Account, hub: str = "center") -> Audit:
    """Compare the children of ``hub`` with what it holds in the end.

    Exact up to float32 rounding, whose size (``rounding``) is that of as many additions as there
    were pushes to a vector of that norm: a push that is lost or doubled is far larger.
    """
    start, lives, goodbyes = _told(entries, hub, center.version)
    findings: list[str] = []
    expected, num_applied, num_written_off = start, 0, 0
    progress = Progress()
    progress.add(goodbyes)
    for life, last in center.applied.items():
        known = lives.get(life, _Life("nobody"))
        for sequence in range(1, last + 1):
            if sequence not in known.sent:
                findings.append(
                    f"unknown: the center applied push {sequence} of incarnation {life}, which "
                    f"{known.child} never sent"
                )
                continue
            expected += known.sent[sequence]
            progress.add(known.carried[sequence])
            num_applied += 1
    for life, known in lives.items():
        behind = known.acknowledged - center.applied.get(life, 0)
        if behind > 0 and known.epoch < center.version.epoch:
            num_written_off += behind  # it was gone when the center had to begin anew
        elif behind > 0:
            findings.append(
                f"lost: {known.child} was told that {behind} pushes of incarnation {life} were "
                "applied, and the center does not have them"
            )
    rounding = _ROUNDINGS * _EPSILON * center.norm * (num_applied + 1) ** 0.5
    gap = abs(center.checksum - expected)
    if not gap <= rounding:
        findings.append(
            f"ledger: r . c is {gap:.3g} away from its start plus all pushes applied; rounding "
            f"explains {rounding:.3g}"
        )
    if progress.num_distinct != center.samples:
        findings.append(
            f"data: the center counts {center.samples} samples, the pushes it applied carried "
            f"{progress.num_distinct}"
        )
    kinds = {finding.partition(":")[0] for finding in findings}
    return Audit(
        invariants={
            "each_push_counts_once": "ledger" not in kinds,
            "acknowledged_pushes_are_kept": "lost" not in kinds,
            "nothing_else_is_applied": "unknown" not in kinds,
            "data_is_counted_right": "data" not in kinds,
        },
        pushes_sent=sum(len(life.sent) for life in lives.values()),
        pushes_applied=num_applied,
        pushes_written_off=num_written_off,
        median_push_norm=median([n for life in lives.values() for n in life.norms] or [0.0]),
        ledger_gap=gap,
        rounding=rounding,
        findings=tuple(findings),
    )


def _told(
    entries: Iterable[Entry], hub: str, end: Version
) -> tuple[float, dict[int, _Life], list[Interval]]:
    """Where the center began, its children's lives up to its ``end``, and data of goodbyes."""
    first: tuple[Version, float] | None = None
    lives: dict[int, _Life] = {}
    goodbyes: list[Interval] = []
    for entry in entries:
        values = entry.values
        if values.get("hub") != hub:
            continue
        life = lives.setdefault(values["life"], _Life(entry.who))
        if entry.kind == "joined":
            version = Version(*values["version"])
            if first is None or version < first[0]:
                first = version, values["start"]
        elif entry.kind == "sent":
            life.sent[values["sequence"]] = values["checksum"]
            life.carried[values["sequence"]] = tuple(Interval(*i) for i in values["progress"])
            life.norms.append(values["norm"])
        elif entry.kind == "answered":
            version = Version(*values["version"])
            if values["outcome"] in {"applied", "duplicate"} and version <= end:
                life.acknowledged = max(life.acknowledged, values["sequence"])
                life.epoch = max(life.epoch, version.epoch)
        elif entry.kind == "left":
            goodbyes += [Interval(*i) for i in values["progress"]]
    return (first[1] if first else 0.0), lives, goodbyes
