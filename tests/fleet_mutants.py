"""The fleet's rules, each taken out: some history must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from ray_easgd import fleet
from ray_easgd.fleet import FleetMachine, Leave
from tests.histories import Mutant


def without(rule: str, name: str, instead: Callable[..., Any]) -> Mutant:
    return Mutant(rule, FleetMachine, name, instead)


def counted(*states: str, asked: bool = True) -> Callable[..., int]:
    """Who is missing, where these fill a place."""

    def missing(self: Any, desired: Any, observed: Any) -> int:
        filled = [p for p in observed.places if p.state in states and (asked or p.live)]
        return int(desired.workers) - len(filled)

    return missing


def lowest_first(self: Any, observed: Any) -> Any:
    places = {place.index: place for place in observed.places}
    for index in count():
        place = places.get(index)
        if place is None or place.state in ("lost", "left"):
            yield index, self._next_life(place)


def lost_only_anew(self: Any, observed: Any) -> Any:
    places = {place.index: place for place in observed.places}
    yield from ((index, 1) for index in count() if index not in places)


def ask_again(self: Any, observed: Any) -> list[Leave]:
    here = [p for p in observed.places if p.state in ("starting", "training")]
    return [Leave(place.index, "drained") for place in here if place.draining]


def scale_again(self: Any, desired: Any, observed: Any) -> list[Leave]:
    here = [p for p in observed.places if p.state in ("starting", "training")]
    here.sort(key=self._stays_longest)
    return [Leave(place.index, "scaled") for place in here[max(0, desired.workers) :]]


def scale_those_who_drain_too(self: Any, desired: Any, observed: Any) -> list[Leave]:
    here = sorted((p for p in observed.places if p.present), key=self._stays_longest)
    return [Leave(place.index, "scaled") for place in here[max(0, desired.workers) :]]


def never_ending(name: str) -> Callable[..., Any]:
    method = getattr(FleetMachine, name)
    return lambda self, desired, *rest: method(self, replace(desired, ending=False), *rest)


def told_each_time(self: Any, desired: Any) -> list[Any]:
    reason = self._crash_loop()
    self._given_up = self._given_up or reason is not None
    return [fleet.GiveUp(reason)] if reason and not desired.ending else []


def told_and_gone_on(self: Any, desired: Any) -> list[Any]:
    told: list[Any] = GIVE_UP(self, desired)
    self._given_up = False
    return told


def note(**changed: Any) -> Callable[..., None]:
    """The loss is noted otherwise than it was."""

    def noted(self: Any, *, index: int, life: int, steps: int, error: str) -> None:
        told: dict[str, Any] = {"index": index, "life": life, "steps": steps, "error": error}
        NOTE_LOSS(self, **{k: changed[k](told) if k in changed else told[k] for k in told})

    return noted


def note_twice(self: Any, *, index: int, life: int, steps: int, error: str) -> None:
    self._rows.setdefault(index, fleet._Row(1)).note(steps, error)
    self._row.note(steps, error)


def note_across_gaps(self: Any, *, index: int, life: int, steps: int, error: str) -> None:
    if life > self._lives.get(index, 0):
        self._lives[index] = life - 1
    NOTE_LOSS(self, index=index, life=life, steps=steps, error=error)


def row_never_broken(self: Any, steps: int, error: str) -> None:
    if error and steps < self.steps:
        self.error, self.length = error, self.length + 1


def row_of_any_error(self: Any, steps: int, error: str) -> None:
    if steps >= self.steps:
        self.length = 0
    elif error:
        self.error, self.length = error, self.length + 1


NOTE_LOSS: Any = FleetMachine.note_loss
GIVE_UP: Any = FleetMachine._give_up

FLEET_MUTANTS = [
    without("the lost are refilled first", "_seats", lowest_first),
    without("a seat that was left is free", "_seats", lost_only_anew),
    without("no life is given twice", "_next_life", lambda self, place: place.life if place else 1),
    without("lives of a seat go on", "_next_life", lambda self, place: 1),
    without("who drains is asked to leave", "_drain", lambda self, observed: []),
    without("who drains is asked once", "_drain", ask_again),
    without(
        "who leaves is replaced at once",
        "_missing",
        counted("starting", "training", "leaving", "done"),
    ),
    without(
        "who was asked is replaced before it goes",
        "_missing",
        counted("starting", "training", "done"),
    ),
    without("the done are not replaced", "_missing", counted("starting", "training", asked=False)),
    without("the lost are replaced", "_missing", counted("starting", "training", "done", "lost")),
    without("the surplus is asked to leave", "_scale_down", lambda self, desired, observed: []),
    without("the surplus is asked once", "_scale_down", scale_again),
    without("who drains is no surplus", "_scale_down", scale_those_who_drain_too),
    without("the stepless go first", "_stays_longest", lambda self, place: (False, place.index)),
    without(
        "the highest go first",
        "_stays_longest",
        lambda self, place: (place.state == "starting", -place.index),
    ),
    without("a ready spare is used", "_has_spare", lambda self, observed, *, used: False),
    without("a spare is used once", "_has_spare", lambda self, observed, *, used: True),
    without("spares are kept", "_start_spares", lambda self, desired, observed, used: []),
    without(
        "no spare before a first step",
        "_start_spares",
        lambda self, desired, observed, used: (
            []
            if desired.ending
            else [fleet.StartSpare()] * (desired.spares - self._spares(observed, used))
        ),
    ),
    without("too many spares end", "_end_spares", lambda self, desired, observed, used: []),
    without("no spare starts in the end", "_start_spares", never_ending("_start_spares")),
    without("spares end with the run", "_end_spares", never_ending("_end_spares")),
    without("nobody starts in the end", "_start", never_ending("_start")),
    without("nobody gives up in the end", "_give_up", never_ending("_give_up")),
    without("a crash loop is given up", "_give_up", lambda self, desired: []),
    without("giving up is told once", "_give_up", told_each_time),
    without("giving up is the end", "_give_up", told_and_gone_on),
    without("a loss is noted once", "note_loss", note_twice),
    without(
        "a first step clears a seat",
        "note_loss",
        note(steps=lambda told: 0 if told["steps"] < 10 else told["steps"]),
    ),
    without(
        "what was taken away does not count",
        "note_loss",
        note(error=lambda told: told["error"] or "taken away"),
    ),
    without("one that ended well breaks a row", "note_loss", note_across_gaps),
    Mutant("errors are alike but for numbers", fleet, "_gist", lambda error: error),
    Mutant("other errors are not alike", fleet._Row, "note", row_of_any_error),
    Mutant("steps break a row", fleet._Row, "note", row_never_broken),
    Mutant("a seat has three lives", fleet, "MOST_LOSSES", 99),
    Mutant("a seat has three lives and no less", fleet, "MOST_LOSSES", 2),
    Mutant("the fleet has five", fleet, "MOST_ALIKE", 99),
    Mutant("the fleet has five and no less", fleet, "MOST_ALIKE", 4),
    Mutant(
        "nine steps are few",
        fleet.FleetMachine,
        "note_loss",
        note(steps=lambda told: 10 if told["steps"] == 9 else told["steps"]),
    ),
]
