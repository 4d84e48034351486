"""Random histories of a fleet: a tiny world that does as it is told, and says where that is wrong.

What it holds the decisions against is its own journal, never the machine's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ray_easgd.fleet import (
    Action,
    Desired,
    EndSpare,
    FleetMachine,
    GiveUp,
    Leave,
    Observed,
    Place,
    Start,
    StartSpare,
)

TAKEN_AWAY = "-"  # no error of its own: its node went
KINDS = ("CUDA error", "no such module")


@dataclass(frozen=True, slots=True)
class Loss:
    """One life that crashed, as the journal has it."""

    index: int
    life: int
    steps: int
    kind: str

    @property
    def error(self) -> str:
        """Lives die of the same, and yet no two texts are equal."""
        if self.kind == TAKEN_AWAY:
            return ""
        n = 1000 * self.index + self.life
        return f"{self.kind} at 0x{255 * n:x}, process {n}\n  in line {n}"


def alike(losses: Iterable[Loss], *, enough_steps: int) -> int:
    """How many of the last ones in a row died of the same, none with ``enough_steps``."""
    kind, length = None, 0
    for loss in losses:
        if loss.steps >= enough_steps or (kind and loss.kind not in (kind, TAKEN_AWAY)):
            break
        if loss.kind != TAKEN_AWAY:
            kind, length = loss.kind, length + 1
    return length


class FleetHistories(RuleBasedStateMachine):
    """Workers start, step, crash, drain, leave and end; the user scales; the run ends.

    After each event the fleet is settled, unless somebody has ``looked_away``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.machine = FleetMachine()
        self.desired = Desired(workers=4, spares=1)
        self.places: dict[int, Place] = {}
        self.ready = self.starting = 0
        self.journal: list[Loss] = []
        self.lives: dict[int, int] = {}
        self.given_up = False
        self.unseen = self.events = 0

    # -- what happens ----------------------------------------------------------------------

    @rule(events=st.integers(1, 4))
    def look_away(self, events: int) -> None:
        self.unseen = events

    @rule(workers=st.integers(0, 5), spares=st.integers(0, 2))
    def scale(self, workers: int, spares: int) -> None:
        self.desired = replace(self.desired, workers=workers, spares=spares)

    @precondition(lambda self: self.desired.workers > 1)
    @rule(data=st.data())
    def scale_down(self, data: st.DataObject) -> None:
        """By one, when some have stepped and others have not."""
        if starting := self.some(self.stepless):
            self.change(data.draw(st.sampled_from(starting)), state="training")
        self.desired = replace(self.desired, workers=self.desired.workers - 1)

    @precondition(lambda self: self.some(self.stepless))
    @rule(data=st.data())
    def first_steps(self, data: st.DataObject) -> None:
        places = self.some(self.stepless)
        for place in data.draw(st.lists(st.sampled_from(places), unique=True, min_size=1)):
            self.change(place, state="training")

    @precondition(lambda self: self.some(self.here))
    @rule(data=st.data(), kind=st.sampled_from([*KINDS, TAKEN_AWAY]))
    def crash(self, data: st.DataObject, kind: str) -> None:
        self.lose(data, self.one(data, self.here), kind)

    @precondition(lambda self: self.some(self.here))
    @rule(
        data=st.data(),
        kind=st.sampled_from([*KINDS, TAKEN_AWAY]),
        times=st.integers(2, 5),
        steps=st.sampled_from([0, 9, 10]),
        one_seat=st.booleans(),
        broken=st.booleans(),
    )
    def crash_alike(
        self, data: st.DataObject, kind: str, times: int, steps: int, one_seat: bool, broken: bool
    ) -> None:
        """One after the other: in one seat, or wherever there is somebody.

        The row is ``broken`` where before the third or last all seats change hands in peace.
        """
        index = self.one(data, self.here).index
        for k in range(times):
            if broken and k == min(times, 3) - 1:
                self.everybody_leaves_and_comes_back()
            self.settle()
            if not one_seat and self.some(self.here):
                index = self.one(data, self.here).index
            place = self.places[index]
            if self.here(place):
                if steps and self.stepless(place):
                    self.change(place, state="training")
                self.lose(data, self.places[index], kind, steps=steps)

    def everybody_leaves_and_comes_back(self) -> None:
        workers = self.desired.workers
        self.settle()
        self.desired = replace(self.desired, workers=0)
        self.settle()
        for place in self.some(self.asked):
            self.change(place, state="left")
        self.desired = replace(self.desired, workers=workers)

    @precondition(lambda self: self.some(self.here))
    @rule(data=st.data(), workers=st.none() | st.integers(0, 5))
    def drain(self, data: st.DataObject, workers: int | None) -> None:
        """And perhaps the user scales at that moment."""
        self.change(self.one(data, self.here), draining=True)
        if workers is not None:
            self.desired = replace(self.desired, workers=workers)

    @precondition(lambda self: self.some(self.asked))
    @rule(data=st.data())
    def obey(self, data: st.DataObject) -> None:
        self.change(self.one(data, self.asked), state="leaving")

    @precondition(lambda self: self.some(self.going))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.change(self.one(data, self.going), state="left")

    @precondition(lambda self: self.some(self.stepping))
    @rule(data=st.data())
    def use_up_the_data(self, data: st.DataObject) -> None:
        self.change(self.one(data, self.stepping), state="done")

    @precondition(lambda self: self.starting)
    @rule()
    def spare_is_ready(self) -> None:
        self.starting, self.ready = self.starting - 1, self.ready + 1

    @precondition(lambda self: self.ready)
    @rule()
    def lose_a_spare(self) -> None:
        self.ready -= 1

    @precondition(lambda self: self.events > 8)
    @rule(data=st.data(), crashes=st.booleans())
    def end(self, data: st.DataObject, crashes: bool) -> None:
        """Perhaps with crashes of which nobody has looked at the last yet."""
        if crashes and self.some(self.here):
            self.crash_alike(
                data=data, kind=KINDS[0], times=3, steps=0, one_seat=True, broken=False
            )
        self.desired = replace(self.desired, ending=True)

    @invariant()
    def is_settled(self) -> None:
        self.events += 1
        if self.unseen:
            self.unseen -= 1
        else:
            self.settle()

    def teardown(self) -> None:
        self.settle()

    # -- what is decided, and done ---------------------------------------------------------

    def settle(self) -> None:
        """Decide, do it, and see whether that was right and is enough."""
        before = dict(self.places)
        actions = self.decide()
        self.check_give_up([action for action in actions if isinstance(action, GiveUp)])
        self.check_leaves([action for action in actions if isinstance(action, Leave)])
        for action in actions:
            self.carry_out(action)
        self.check_contradictions(before, actions)
        self.check_fleet()
        self.check_spares()
        assert not self.decide(), "settled, and yet there is more to do"

    def decide(self) -> list[Action]:
        observed = Observed(
            places=tuple(reversed(self.places.values())),
            spares_ready=self.ready,
            spares_starting=self.starting,
        )
        return self.machine.reconcile(self.desired, observed)

    def carry_out(self, action: Action) -> None:
        match action:
            case Start():
                self.carry_out_start(action)
            case Leave(index):
                self.change(self.places[index], asked_to_leave=True)
            case StartSpare():
                assert not self.closing
                assert self.some(self.stepping), "it slows the first step down"
                self.starting += 1
            case EndSpare():
                assert self.starting or self.ready
                self.starting, self.ready = (
                    (self.starting - 1, self.ready) if self.starting else (0, self.ready - 1)
                )
            case GiveUp():
                self.given_up = True

    def carry_out_start(self, start: Start) -> None:
        place = self.places.get(start.index)
        filled = self.some(lambda p: self.stays(p) or p.state == "done")
        assert not self.closing
        assert len(filled) < self.desired.workers
        assert place is None or place.state in ("lost", "left"), "somebody sits there"
        assert start.life == self.lives.get(start.index, 0) + 1
        assert start.from_spare is bool(self.ready)
        if place is None or place.state == "left":
            assert not self.some(lambda p: p.state == "lost"), "the lost come first"
            free = (k for k in count() if self.is_free(k))
            assert start.index == next(free)
        self.ready -= start.from_spare
        self.lives[start.index] = start.life
        self.places[start.index] = Place(index=start.index, life=start.life, state="starting")

    # -- what must be so -------------------------------------------------------------------

    def check_give_up(self, told: list[GiveUp]) -> None:
        """When the journal says so, once, and not when the run ends anyway."""
        expected = self.loops and not self.closing
        assert len(told) == expected, self.journal
        assert all(any(kind in one.reason for kind in KINDS) for one in told)

    def check_leaves(self, leaves: list[Leave]) -> None:
        for leave in leaves:
            place = self.places[leave.index]
            assert self.here(place)
            assert not place.asked_to_leave, "asked twice"
            assert place.draining is (leave.reason == "drained")
        assert len({leave.index for leave in leaves}) == len(leaves)

    def check_contradictions(self, before: dict[int, Place], actions: list[Action]) -> None:
        kinds = {type(action) for action in actions}
        assert not {StartSpare, EndSpare} <= kinds
        scaled = {a.index for a in actions if isinstance(a, Leave) and a.reason == "scaled"}
        if scaled:
            assert Start not in kinds, "one is started, and another is one too many"
            stay = [p for p in before.values() if p.index not in scaled and self.stays(p)]
            first = min(self.goes_late(before[index]) for index in scaled)
            assert all(self.goes_late(place) < first for place in stay)

    def check_fleet(self) -> None:
        live = sum(map(self.stays, self.places.values()))
        assert live <= self.desired.workers
        assert not self.some(lambda p: self.here(p) and p.draining and not p.asked_to_leave)
        if not self.closing:
            done = sum(place.state == "done" for place in self.places.values())
            assert live >= self.desired.workers - done
            assert done or live == self.desired.workers

    def check_spares(self) -> None:
        spares = self.starting + self.ready
        assert spares <= (0 if self.closing else self.desired.spares)
        if not self.closing and self.some(self.stepping):
            assert spares == self.desired.spares

    @property
    def closing(self) -> bool:
        return self.desired.ending or self.given_up

    @property
    def loops(self) -> bool:
        """By the journal: three lives of a seat without a step, or five of anybody with few."""
        seats = {loss.index for loss in self.journal}
        rows = [alike(self.last_lives(index), enough_steps=1) for index in seats]
        return max(rows, default=0) >= 3 or alike(reversed(self.journal), enough_steps=10) >= 5

    def last_lives(self, index: int) -> list[Loss]:
        """Of a seat those that crashed one after the other, the last one first."""
        row: list[Loss] = []
        for loss in reversed(self.journal):
            if loss.index == index and (not row or loss.life == row[-1].life - 1):
                row.append(loss)
        return row

    # -- the world -------------------------------------------------------------------------

    def lose(self, data: st.DataObject, place: Place, kind: str, *, steps: int = 0) -> None:
        if self.stepping(place) and not steps:
            steps = data.draw(st.sampled_from([1, 9, 10]))
        loss = Loss(place.index, place.life, steps, kind)
        self.journal.append(loss)
        for _ in range(2):  # whoever watches may say it again
            self.machine.note_loss(
                index=loss.index, life=loss.life, steps=loss.steps, error=loss.error
            )
        self.change(place, state="lost")

    def change(self, place: Place, **changes: Any) -> None:
        self.places[place.index] = replace(place, **changes)

    def some(self, kind: Callable[[Place], bool]) -> list[Place]:
        return [self.places[index] for index in sorted(self.places) if kind(self.places[index])]

    def one(self, data: st.DataObject, kind: Callable[[Place], bool]) -> Place:
        return data.draw(st.sampled_from(self.some(kind)))

    def is_free(self, index: int) -> bool:
        return index not in self.places or self.places[index].state == "left"

    @staticmethod
    def here(place: Place) -> bool:
        return place.state in ("starting", "training")

    @staticmethod
    def stepless(place: Place) -> bool:
        return place.state == "starting"

    @staticmethod
    def stepping(place: Place) -> bool:
        return place.state == "training"

    @staticmethod
    def going(place: Place) -> bool:
        return place.state == "leaving"

    @classmethod
    def asked(cls, place: Place) -> bool:
        return cls.here(place) and place.asked_to_leave

    @classmethod
    def stays(cls, place: Place) -> bool:
        return cls.here(place) and not (place.asked_to_leave or place.draining)

    @staticmethod
    def goes_late(place: Place) -> tuple[bool, int]:
        return place.state == "starting", place.index
