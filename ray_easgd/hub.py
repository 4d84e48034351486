"""A hub: the vector that children are tied to, and the table that makes a push count once.

A pure machine: no clock, no process, no transport. The center is a hub without a parent. It is
not thread-safe; the shell that owns it holds a lock around each call (``actors/center.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ray_easgd.algorithms.averages import averaged
from ray_easgd.algorithms.contract import Algorithm, Average, CenterStep, State
from ray_easgd.kernels import Checksum
from ray_easgd.moving_rate import moving_rate
from ray_easgd.parameters import Slot
from ray_easgd.progress import Progress
from ray_easgd.protocol import Outcome, PushHeader, PushReply, SnapshotHeader, Version


@dataclass(frozen=True, kw_only=True, slots=True)
class HubOptions:
    """How a hub behaves.

    ``fixed_rate`` replaces the rule ``min(1/2, beta / (children + parent))``; ``ledger_seed``
    turns the edge ledger on, where the center ``balances``: is its start plus its pushes.
    """

    center_step: CenterStep
    beta: float = 0.9
    fixed_rate: float | None = None
    ledger_seed: int | None = None
    balances: bool = True


def options_for(
    algorithm: Algorithm,
    *,
    beta: float = 0.9,
    fixed_rate: float | None = None,
    ledger_seed: int | None = None,
    average: Average | None = None,
    average_rate: float = 0.001,
) -> HubOptions:
    """How an algorithm's hub behaves; ``average`` None takes the algorithm's own."""
    kind = algorithm.average if average is None else average
    return HubOptions(
        center_step=averaged(algorithm.center_step, kind, average_rate),
        beta=beta,
        fixed_rate=fixed_rate,
        ledger_seed=ledger_seed,
        balances=algorithm.conserves != "none",
    )


@dataclass(slots=True)
class _Ledger:
    checksum: Checksum
    start: float
    applied: float = 0.0
    scale: float = 0.0  # sum of the magnitudes that were added: what rounding is relative to


@dataclass(slots=True)
class Hub:
    """The vector ``c`` of shape (n,), its version, and the last sequence of each incarnation."""

    options: HubOptions
    epoch: int = 1
    vector: Tensor | None = None
    layout: tuple[Slot, ...] = ()
    state: State = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    steps: int = 0
    refused: int = 0
    duplicates: int = 0
    _count: int = 0
    _applied: dict[int, int] = field(default_factory=dict)
    _living: dict[int, str] = field(default_factory=dict)
    _born: int = 0
    _ledger: _Ledger | None = None

    def admit(self, child: str, vector: Tensor, layout: Sequence[Slot]) -> int:
        """Give a child's new life its incarnation number.

        The first child's vector becomes the hub's own: one start for all (paper, section 4).
        """
        if self.vector is None:
            self._adopt(vector.clone(), tuple(layout))
        elif self.vector.numel() != vector.numel():
            raise ValueError(
                f"{child} has {vector.numel()} parameters, the center {self.vector.numel()}: "
                "every worker must build the same model."
            )
        self._born += 1
        self._living[self._born] = child
        self._applied[self._born] = 0
        return self._born

    def dismiss(self, incarnation: int) -> None:
        """End a life: its later pushes are refused, and it no longer counts for the rate."""
        self._living.pop(incarnation, None)

    def apply(self, header: PushHeader, d: Tensor) -> PushReply:
        """Take one push in, exactly once, and say what became of it."""
        outcome = self._judge(header)
        if outcome is not Outcome.APPLIED:
            self.refused += outcome is Outcome.REFUSED
            self.duplicates += outcome is Outcome.DUPLICATE
            return PushReply(outcome=outcome, version=self.version)
        assert self.vector is not None
        self.options.center_step.apply_(self.vector, d, self.state)
        self._count += 1
        self._applied[header.incarnation] = header.sequence
        self.steps += header.steps
        self.progress.add(header.progress)
        self._enter(header)
        staleness = self._count - 1 - header.computed_from.count
        return PushReply(outcome=outcome, version=self.version, staleness=staleness)

    @property
    def version(self) -> Version:
        """(hub epoch, pushes applied)."""
        return Version(self.epoch, self._count)

    @property
    def moving_rate(self) -> float:
        """The rate both ends of the next exchange use."""
        if self.options.fixed_rate is not None:
            return self.options.fixed_rate
        return moving_rate(self.options.beta, len(self._living))

    @property
    def children(self) -> dict[int, str]:
        """Living incarnations, and whose they are."""
        return dict(self._living)

    @property
    def judged(self) -> Tensor | None:
        """The vector to test and to keep: the center's, or the average that its step keeps."""
        if self.vector is None:
            return None
        return self.options.center_step.judged(self.vector, self.state)

    def header(self) -> SnapshotHeader:
        """What a snapshot taken now would carry: with the vector, one cut."""
        return SnapshotHeader(
            version=self.version,
            moving_rate=self.moving_rate,
            applied=dict(self._applied),
            steps=self.steps,
            samples=self.progress.num_distinct + self.progress.num_repeated,
        )

    def ledger_error(self) -> float | None:
        """``|r.c - r.c0 - sum of checksums|`` over the magnitudes added; None without a ledger.

        Rounding leaves about 1e-7 of it; a push lost or doubled leaves about 1 / pushes.
        """
        if self._ledger is None or self.vector is None:
            return None
        expected = self._ledger.start + self._ledger.applied
        gap = abs(self._ledger.checksum(self.vector) - expected)
        return gap / max(self._ledger.scale, 1e-30)

    def _adopt(self, vector: Tensor, layout: tuple[Slot, ...]) -> None:
        self.vector, self.layout = vector, layout
        self.state = self.options.center_step.begin(vector)
        if self.options.ledger_seed is not None and self.options.balances:
            checksum = Checksum(vector.numel(), self.options.ledger_seed)
            self._ledger = _Ledger(checksum, checksum(vector), scale=float(vector.abs().sum()))

    def _judge(self, header: PushHeader) -> Outcome:
        if header.incarnation not in self._living:
            return Outcome.REFUSED
        expected = self._applied[header.incarnation] + 1
        if header.sequence < expected:
            return Outcome.DUPLICATE
        return Outcome.APPLIED if header.sequence == expected else Outcome.GAP

    def _enter(self, header: PushHeader) -> None:
        if self._ledger is not None and header.checksum is not None:
            self._ledger.applied += header.checksum
            self._ledger.scale += abs(header.checksum)
