"""The fleet's decisions: who is started, who is asked to leave, and when there is no use in more.

A pure machine: no clock, no process, no ray. Its shell observes and acts, again and again
(``actors/fleet.py``); what is wanted and what is observed are all that a decision looks at, but
for a small memory of crashes. Each rule is one method.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Literal

State = Literal["starting", "training", "leaving", "lost", "done", "left"]

MOST_LOSSES = 3
"""Lives in a row that one seat may lose to the same error before a first step."""

MOST_ALIKE = 5
"""Lives in a row that the fleet may lose to the same error before ``FEW_STEPS`` each."""

FEW_STEPS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Desired:
    """What the run wants: ``workers`` at work, and ``spares``, warm processes without a seat.

    ``ending``: the run winds down, and nobody is started or replaced any more.
    """

    workers: int
    spares: int = 0
    ending: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The seat of worker-{index} as observed; ``life`` counts the processes that have sat there.

    It is ``starting`` until its first step, then ``training``; ``leaving`` once it does as it was
    asked, and then ``left``. ``done``: its loop ended by itself, the data is used up. ``lost``: it
    ended in any other way. ``draining``: its node is about to go.
    """

    index: int
    life: int
    state: State
    draining: bool = False
    asked_to_leave: bool = False

    @property
    def present(self) -> bool:
        """Whether a process sits there that nobody has asked to leave."""
        return self.state in ("starting", "training") and not self.asked_to_leave

    @property
    def live(self) -> bool:
        """Whether it is, or will soon be, at work, and is to stay."""
        return self.present and not self.draining


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What there is: each seat once, in any order, and the spares."""

    places: tuple[Place, ...] = ()
    spares_ready: int = 0
    spares_starting: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """Seat a new ``life`` of worker-{index}, in a warm process if ``from_spare``."""

    index: int
    life: int
    from_spare: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """Ask for one last exchange, and goodbye."""

    index: int
    reason: Literal["scaled", "drained"]


@dataclass(frozen=True, slots=True)
class StartSpare:
    """Start a process without a seat."""


@dataclass(frozen=True, slots=True)
class EndSpare:
    """End a process without a seat, one that is still starting if there is one."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Replacements die of what killed those before them: end the run, and say so."""

    reason: str


Action = Start | Leave | StartSpare | EndSpare | GiveUp


@dataclass(slots=True)
class _Row:
    """Lives in a row that ended alike, before ``steps`` steps; ``error`` is the last one's."""

    steps: int
    error: str = ""
    length: int = 0

    def note(self, steps: int, error: str) -> None:
        if steps >= self.steps:
            self.error, self.length = "", 0
        elif error:
            alike = _gist(error) == _gist(self.error)
            self.error, self.length = error, self.length + 1 if alike else 1


@dataclass(slots=True)
class FleetMachine:
    """Reconciles what is wanted with what is observed.

    Settled, as many are live as are wanted, but for those that are done: once its actions are
    carried out it asks for nothing more.
    """

    _rows: dict[int, _Row] = field(default_factory=dict)
    _row: _Row = field(default_factory=lambda: _Row(FEW_STEPS))
    _lives: dict[int, int] = field(default_factory=dict)
    _given_up: bool = False

    def reconcile(self, desired: Desired, observed: Observed) -> list[Action]:
        """What to do now. Having given up it goes on as a run that is ending."""
        given_up = self._give_up(desired)
        if self._given_up:
            desired = replace(desired, ending=True)
        starts = self._start(desired, observed)
        used = sum(start.from_spare for start in starts)
        return [
            *given_up,
            *self._drain(observed),
            *self._scale_down(desired, observed),
            *starts,
            *self._start_spares(desired, observed, used),
            *self._end_spares(desired, observed, used),
        ]

    def note_loss(self, *, index: int, life: int, steps: int, error: str) -> None:
        """A life ended by a crash after so many ``steps``; heard again it changes nothing.

        ``error`` is empty where its node or its process was taken away: that counts for nothing.
        """
        last = self._lives.get(index, life - 1)
        if life <= last:
            return
        if life > last + 1:  # one between ended well
            self._rows.pop(index, None)
        self._lives[index] = life
        self._rows.setdefault(index, _Row(1)).note(steps, error)
        self._row.note(steps, error)

    @property
    def crashes_in_a_row(self) -> int:
        """Lives in a row, of one seat or of the fleet, that ended early by the same error."""
        return max((row.length for row in (self._row, *self._rows.values())), default=0)

    # -- workers ---------------------------------------------------------------------------

    def _start(self, desired: Desired, observed: Observed) -> list[Start]:
        """One for each that is missing, the ready spares first."""
        missing = 0 if desired.ending else self._missing(desired, observed)
        seats = islice(self._seats(observed), max(0, missing))
        return [
            Start(index, life, self._has_spare(observed, used=k))
            for k, (index, life) in enumerate(seats)
        ]

    def _missing(self, desired: Desired, observed: Observed) -> int:
        """Those who leave are replaced at once; those who are done never, nor is a seat of them."""
        filled = sum(place.live or place.state == "done" for place in observed.places)
        return desired.workers - filled

    def _seats(self, observed: Observed) -> Iterator[tuple[int, int]]:
        """Index and next life of free seats: those of the lost, then the lowest."""
        places = {place.index: place for place in observed.places}
        lost = sorted(index for index, place in places.items() if place.state == "lost")
        yield from ((index, self._next_life(places[index])) for index in lost)
        for index in count():
            place = places.get(index)
            if place is None or place.state == "left":
                yield index, self._next_life(place)

    def _next_life(self, place: Place | None) -> int:
        """No number is given to two processes of a seat."""
        return place.life + 1 if place else 1

    def _drain(self, observed: Observed) -> list[Leave]:
        """Who sits on a node that is about to go has to leave it."""
        draining = [place for place in observed.places if place.draining and place.present]
        return [Leave(place.index, "drained") for place in draining]

    def _scale_down(self, desired: Desired, observed: Observed) -> list[Leave]:
        """The surplus: who has not stepped yet before who has, the highest index first."""
        live = [place for place in observed.places if place.live]
        live.sort(key=self._stays_longest)
        return [Leave(place.index, "scaled") for place in live[max(0, desired.workers) :]]

    def _stays_longest(self, place: Place) -> tuple[bool, int]:
        return place.state == "starting", place.index

    # -- spares ----------------------------------------------------------------------------

    def _has_spare(self, observed: Observed, *, used: int) -> bool:
        return used < observed.spares_ready

    def _start_spares(self, desired: Desired, observed: Observed, used: int) -> list[StartSpare]:
        """None before somebody has stepped: they would slow the first step."""
        begun = any(place.state == "training" for place in observed.places)
        if desired.ending or not begun:
            return []
        return [StartSpare()] * (desired.spares - self._spares(observed, used))

    def _end_spares(self, desired: Desired, observed: Observed, used: int) -> list[EndSpare]:
        wanted = 0 if desired.ending else desired.spares
        return [EndSpare()] * (self._spares(observed, used) - wanted)

    def _spares(self, observed: Observed, used: int) -> int:
        return observed.spares_ready - used + observed.spares_starting

    # -- crash loops -----------------------------------------------------------------------

    def _give_up(self, desired: Desired) -> list[GiveUp]:
        """Once, and not where the run ends anyway."""
        reason = self._crash_loop()
        if reason is None or self._given_up or desired.ending:
            return []
        self._given_up = True
        return [GiveUp(reason)]

    def _crash_loop(self) -> str | None:
        """Why another life would end like those before it, or None."""
        for index, row in self._rows.items():
            if row.length >= MOST_LOSSES:
                return (
                    f"worker-{index} was lost {row.length} times in a row before a first step, "
                    f"each time with the same error: {row.error}"
                )
        if self._row.length >= MOST_ALIKE:
            return (
                f"workers were lost {self._row.length} times in a row within {FEW_STEPS} steps, "
                f"each time with the same error: {self._row.error}"
            )
        return None


def _gist(error: str) -> str:
    """An error's first line without what differs from life to life: numbers and addresses."""
    first = next(iter(error.strip().splitlines()), "")
    return re.sub(r"0x[0-9a-fA-F]+|\d+", "#", first)
