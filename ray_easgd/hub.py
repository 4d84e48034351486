"""A hub: the vector that children are tied to, and the table that makes a push count once.

A pure machine: no clock, no process, no transport. The center is a hub without a parent. It is
not thread-safe; the shell that owns it holds a lock around each call (``actors/center.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ray_easgd.algorithms.averages import averaged
from ray_easgd.algorithms.contract import Algorithm, Arrival, Average, CenterStep, Rounds, State
from ray_easgd.algorithms.staleness import weighted
from ray_easgd.kernels import Checksum
from ray_easgd.link import Snapshot
from ray_easgd.moving_rate import moving_rate
from ray_easgd.parameters import Slot
from ray_easgd.progress import Progress
from ray_easgd.protocol import Outcome, PushHeader, PushReply, SnapshotHeader, Version
from ray_easgd.trace import Joined, Left, Moved, Pushed, Record
from ray_easgd.wire import Payload, decoded


@dataclass(frozen=True, kw_only=True, slots=True)
class HubOptions:
    """How a hub behaves.

    ``fixed_rate`` replaces the rule ``min(1/2, beta / (children + parent))``; ``ledger_seed``
    turns the edge ledger on, where the center ``balances``: is its start plus its pushes.
    ``max_staleness``: pushes from an older center than that are not applied.
    """

    center_step: CenterStep
    rounds: Rounds = "none"
    beta: float = 0.9
    has_parent: bool = False
    fixed_rate: float | None = None
    ledger_seed: int | None = None
    balances: bool = True
    max_staleness: int | None = None
    traced: bool = False


def options_for(
    algorithm: Algorithm,
    *,
    beta: float | None = None,
    fixed_rate: float | None = None,
    has_parent: bool = False,
    ledger_seed: int | None = None,
    average: Average | None = None,
    average_rate: float = 0.001,
    staleness_power: float = 0.0,
    max_staleness: int | None = None,
    traced: bool = False,
) -> HubOptions:
    """How an algorithm's hub behaves; ``average`` None takes the algorithm's own."""
    kind = algorithm.average if average is None else average
    step = weighted(algorithm.center_step, staleness_power)
    return HubOptions(
        center_step=averaged(step, kind, average_rate),
        rounds=algorithm.rounds,
        beta=algorithm.beta if beta is None else beta,
        has_parent=has_parent,
        fixed_rate=fixed_rate,
        ledger_seed=ledger_seed,
        balances=algorithm.conserves != "none" and not staleness_power,
        max_staleness=max_staleness,
        traced=traced,
    )


@dataclass(slots=True)
class _Ledger:
    checksum: Checksum
    start: float
    applied: float = 0.0
    scale: float = 0.0  # sum of the magnitudes that were added: what rounding is relative to

    def add(self, checksum: float) -> None:
        """The vector has moved by what has that checksum."""
        self.applied += checksum
        self.scale += abs(checksum)

    def begin_again(self, vector: Tensor) -> None:
        """Take the vector as it is for what it should be."""
        self.start = self.checksum(vector) - self.applied


@dataclass(slots=True)
class Hub:
    """The vector ``c`` of shape (n,), its version, and the last sequence of each incarnation.

    Where it is ``traced`` it records what shaped the vector, in that order. In rounds
    ``together`` pushes are gathered, and applied as one sum once every living child has one there.
    ``in_turn`` children are shown the center one after the other (``shows``).
    """

    options: HubOptions
    epoch: int = 1
    vector: Tensor | None = None
    layout: tuple[Slot, ...] = ()
    state: State = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    steps: int = 0
    refused: int = 0
    duplicates: int = 0
    trace: list[Record] | None = None
    _count: int = 0
    _applied: dict[int, int] = field(default_factory=dict)
    _living: dict[int, str] = field(default_factory=dict)
    _gathered: dict[int, tuple[PushHeader, Payload]] = field(default_factory=dict)
    _born: int = 0
    _turn: int = 0  # whose it is, where children take turns; 0 while nobody is there
    _ledger: _Ledger | None = None

    @classmethod
    def recovered(
        cls,
        options: HubOptions,
        snapshot: Snapshot,
        layout: Sequence[Slot],
        children: Mapping[int, str],
        *,
        epoch: int,
        born: int,
    ) -> Hub:
        """A lost hub's successor: a new ``epoch``, from a snapshot that a child held.

        ``children`` are the lives it goes on with; they replay what the snapshot does not show.
        ``born`` is the number of lives there were: none is given again.
        What its center step remembered begins anew.
        """
        hub = cls(options)
        hub.recover(snapshot, layout, children, epoch=epoch, born=born)
        return hub

    def recover(
        self,
        snapshot: Snapshot,
        layout: Sequence[Slot],
        children: Mapping[int, str],
        *,
        epoch: int,
        born: int,
    ) -> None:
        """Take a lost hub's place; see ``recovered``. Nobody has joined yet."""
        header = snapshot.header
        version = Version(epoch, header.version.count)
        vector = snapshot.vector.clone()
        self.go_on(vector, layout, {}, version=version, steps=header.steps, born=born)
        self.progress.add(header.progress)
        self._applied = dict.fromkeys(children, 0) | dict(header.applied)
        self._living = dict(children)
        self._pass_turn()
        for life in children:
            self.options.center_step.admit_(vector, self.state, life)

    def adopt(self, vector: Tensor, layout: Sequence[Slot]) -> None:
        """Take ``vector`` itself, shape (n,), as the center to start from."""
        self.vector, self.layout = vector, tuple(layout)
        self.state = self.options.center_step.begin(vector)
        if self.options.ledger_seed is not None and self.options.balances:
            checksum = Checksum(vector.numel(), self.options.ledger_seed)
            self._ledger = _Ledger(checksum, checksum(vector), scale=float(vector.abs().sum()))

    def go_on(
        self,
        vector: Tensor,
        layout: Sequence[Slot],
        state: Mapping[str, Tensor],
        *,
        version: Version,
        steps: int,
        born: int,
    ) -> None:
        """Take a lost hub's place from what was kept of it. ``state`` is what its step remembered.

        ``version`` opens a new epoch; ``born`` is the number of lives there were.
        """
        self.adopt(vector, layout)
        self.state.update(state)
        self.epoch, self._count = version.epoch, version.count
        self.steps, self._born = steps, born

    def __post_init__(self) -> None:
        if self.options.traced:
            self.trace = []

    def take_trace(self) -> list[Record]:
        """What was recorded since the last time; empty where it is not ``traced``."""
        records, self.trace = self.trace or [], [] if self.options.traced else None
        return records

    def admit(self, child: str, vector: Tensor, layout: Sequence[Slot]) -> int:
        """Give a child's new life its incarnation number.

        The first child's vector becomes the hub's own: one start for all (paper, section 4).
        """
        if self.vector is None:
            self.adopt(vector.clone(), layout)
        elif self.vector.numel() != vector.numel():
            raise ValueError(
                f"{child} has {vector.numel()} parameters, the center {self.vector.numel()}: "
                "every worker must build the same model."
            )
        self._born += 1
        self._living[self._born] = child
        self._applied[self._born] = 0
        assert self.vector is not None
        self.options.center_step.admit_(self.vector, self.state, self._born)
        if not self._turn:
            self._pass_turn()
        self._note(Joined(child=child, incarnation=self._born, version=self.version))
        return self._born

    def dismiss(self, incarnation: int, *, lost: bool = False) -> None:
        """End a life: its later pushes are refused, and it no longer counts for the rate.

        A round no longer waits for it; what it had pushed into one still counts.
        """
        if self._living.pop(incarnation, None) is not None and self.vector is not None:
            self._complete_round()
            if incarnation == self._turn:
                self._pass_turn()
            self.options.center_step.dismiss_(self.vector, self.state, incarnation, lost=lost)
            self._note(Left(incarnation=incarnation, lost=lost, version=self.version))

    def apply(self, header: PushHeader, d: Payload) -> PushReply:
        """Take one push in, exactly once, and say what became of it."""
        # Of a center that was lost it may be newer than what the successor began from.
        staleness = max(0, self._count - header.computed_from.count)
        outcome = self._judge(header, staleness)
        if outcome is not Outcome.APPLIED:
            self.refused += outcome is Outcome.REFUSED
            self.duplicates += outcome is Outcome.DUPLICATE
            return PushReply(
                outcome=outcome,
                version=self.version,
                staleness=staleness,
                sequence=header.sequence,
            )
        if self.options.rounds == "together":
            self._gathered[header.incarnation] = (header, d)
            self._complete_round()
        else:
            arrival = Arrival(
                child=header.incarnation,
                children=len(self._living),
                staleness=staleness,
                moving_rate=self.moving_rate,
            )
            self._move(d, arrival)
            self._book(header, staleness=staleness)
        shown = self._applied[header.incarnation] == header.sequence
        return PushReply(
            outcome=Outcome.APPLIED if shown else Outcome.GATHERED,
            version=self.version,
            staleness=staleness,
        )

    def shows(self, incarnation: int, sequence: int) -> bool:
        """Whether a center pulled now is the one this child waits for.

        It shows the push ``sequence``, and it is the child's turn where there are turns. A dead
        life waits for nothing: its next push will be refused.
        """
        if incarnation not in self._living:
            return True
        in_turn = self.options.rounds != "in_turn" or self._turn == incarnation
        return in_turn and self._applied[incarnation] >= sequence

    def moved(self) -> None:
        """The vector was moved by its parent: that is a version of its own."""
        self._count += 1
        self._note(Moved(version=self.version))

    def snapshot(self) -> Snapshot:
        """A copy of the vector with its header, as one cut."""
        assert self.vector is not None
        return Snapshot(self.header(), self.vector.clone())

    @property
    def version(self) -> Version:
        """(hub epoch, pushes applied)."""
        return Version(self.epoch, self._count)

    @property
    def moving_rate(self) -> float:
        """The rate both ends of the next exchange use."""
        if self.options.fixed_rate is not None:
            return self.options.fixed_rate
        options = self.options
        return moving_rate(options.beta, len(self._living), has_parent=options.has_parent)

    @property
    def born(self) -> int:
        """How many lives there were so far: the youngest incarnation."""
        return self._born

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
            progress=tuple(self.progress.intervals()),
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

    def _judge(self, header: PushHeader, staleness: int) -> Outcome:
        if header.incarnation not in self._living:
            return Outcome.REFUSED
        held = self._gathered.get(header.incarnation)
        if held is not None and header.sequence > held[0].sequence:
            return Outcome.GAP  # one push a round: it has to wait for that
        expected = (held[0].sequence if held else self._applied[header.incarnation]) + 1
        if header.sequence < expected:
            return Outcome.DUPLICATE
        if header.sequence > expected:
            return Outcome.GAP
        most = self.options.max_staleness
        return Outcome.STALE if most is not None and staleness > most else Outcome.APPLIED

    def _complete_round(self) -> None:
        """Apply what is gathered as one sum, in the order of births, once nobody is missing."""
        if not self._gathered or not self._living.keys() <= self._gathered.keys():
            return
        gathered = [self._gathered[life] for life in sorted(self._gathered)]
        self._gathered = {}
        total = decoded(gathered[0][1]).clone()
        for _, d in gathered[1:]:
            total.add_(decoded(d))
        self._move(total, Arrival(pushes=len(gathered), children=len(self._living)))
        for header, _ in gathered:
            self._book(header)

    def _move(self, d: Payload, arrival: Arrival) -> None:
        assert self.vector is not None
        self.options.center_step.apply_(self.vector, decoded(d), self.state, arrival)

    def _book(self, header: PushHeader, *, staleness: int = 0) -> None:
        self._count += 1
        self._applied[header.incarnation] = header.sequence
        if header.incarnation == self._turn:
            self._pass_turn()
        self.steps += header.steps
        self.progress.add(header.progress)
        self._enter(header)
        self._note(Pushed(header=header, version=self.version, staleness=staleness))

    def _note(self, record: Record) -> None:
        if self.trace is not None:
            self.trace.append(record)

    def _pass_turn(self) -> None:
        """To the living child born next after the one that had it, in a circle."""
        self._turn = min(self._living, key=lambda life: (life <= self._turn, life), default=0)

    def _enter(self, header: PushHeader) -> None:
        if self._ledger is not None and header.checksum is not None:
            self._ledger.add(header.checksum)
