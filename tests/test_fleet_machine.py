"""The fleet's decisions, one by one and in random histories."""

from __future__ import annotations

from ray_easgd.fleet import (
    Desired,
    EndSpare,
    FleetMachine,
    GiveUp,
    Leave,
    Observed,
    Place,
    Start,
    StartSpare,
    State,
)
from tests.fleet_histories import FleetHistories
from tests.histories import run


def seen(*states: State, life: int = 1, ready: int = 0) -> Observed:
    """A place in each state, in the order of their indexes."""
    places = (Place(index=k, life=life, state=state) for k, state in enumerate(states))
    return Observed(places=tuple(places), spares_ready=ready)


def draining(*states: State) -> Observed:
    """The same, and the first one's node is about to go."""
    first, *others = seen(*states).places
    leaves = Place(index=0, life=1, state=first.state, draining=True)
    return Observed(places=(leaves, *others))


def after_losses(*errors: str, steps: int = 0, seats: int = 1) -> FleetMachine:
    """Lives lost one after the other, seat by seat in turn."""
    machine = FleetMachine()
    for k, error in enumerate(errors):
        machine.note_loss(index=k % seats, life=1 + k // seats, steps=steps, error=error)
    return machine


def test_an_empty_fleet_is_filled_from_the_lowest_index() -> None:
    actions = FleetMachine().reconcile(Desired(workers=2, spares=1), Observed())
    assert actions == [Start(0, 1, from_spare=False), Start(1, 1, from_spare=False)]


def test_a_lost_seat_is_refilled_before_a_new_one_is_opened() -> None:
    observed = seen("training", "left", "lost", life=4)
    actions = FleetMachine().reconcile(Desired(workers=3), observed)
    assert actions == [Start(2, 5, from_spare=False), Start(1, 5, from_spare=False)]


def test_who_drains_is_asked_once_and_replaced_elsewhere_at_once() -> None:
    machine, desired = FleetMachine(), Desired(workers=2)
    actions = machine.reconcile(desired, draining("training", "training"))
    assert actions == [Leave(0, "drained"), Start(2, 1, from_spare=False)]
    asked = Place(index=0, life=1, state="training", draining=True, asked_to_leave=True)
    others = seen("left", "training", "starting").places[1:]
    assert machine.reconcile(desired, Observed(places=(asked, *others))) == []


def test_scaling_down_asks_the_stepless_first_and_then_the_highest() -> None:
    observed = seen("training", "starting", "training", "training")
    actions = FleetMachine().reconcile(Desired(workers=2), observed)
    assert actions == [Leave(3, "scaled"), Leave(1, "scaled")]


def test_scaling_up_again_starts_new_ones_while_the_old_ones_leave() -> None:
    observed = seen("training", "leaving")
    actions = FleetMachine().reconcile(Desired(workers=2), observed)
    assert actions == [Start(2, 1, from_spare=False)]


def test_who_is_done_has_no_successor_and_keeps_the_seat() -> None:
    assert FleetMachine().reconcile(Desired(workers=2), seen("done", "training")) == []
    actions = FleetMachine().reconcile(Desired(workers=3), seen("done", "training"))
    assert actions == [Start(2, 1, from_spare=False)]


def test_a_spare_takes_a_seat_and_another_is_warmed_up() -> None:
    actions = FleetMachine().reconcile(
        Desired(workers=3, spares=1), seen("training", "lost", "lost", ready=1)
    )
    taken = [Start(1, 2, from_spare=True), Start(2, 2, from_spare=False)]
    assert actions == [*taken, StartSpare()]


def test_no_spare_is_warmed_up_before_a_first_step() -> None:
    desired = Desired(workers=1, spares=2)
    assert FleetMachine().reconcile(desired, seen("starting")) == []
    assert FleetMachine().reconcile(desired, seen("training")) == [StartSpare()] * 2


def test_a_run_that_ends_starts_nobody_and_lets_its_spares_go() -> None:
    desired = Desired(workers=3, spares=1, ending=True)
    assert FleetMachine().reconcile(desired, seen("training", "lost", ready=1)) == [EndSpare()]


def test_a_crash_loop_is_given_up_once_with_its_error() -> None:
    machine = after_losses(*(f"no GPU at 0x{k}f{k}, try {k}\n{k}" for k in range(3)))
    told, again = (machine.reconcile(Desired(workers=1), seen("lost", life=3)) for _ in range(2))
    assert [type(action) for action in told] == [GiveUp]
    assert "no GPU at 0x2f2, try 2" in str(told[0])
    assert again == []


def test_a_fleet_that_crashes_alike_within_ten_steps_gives_up() -> None:
    desired, observed = Desired(workers=2), seen("lost", "lost", life=5)
    few, enough = (after_losses(*["boom"] * 5, steps=n, seats=2) for n in (9, 10))
    assert GiveUp in map(type, few.reconcile(desired, observed))
    assert GiveUp not in map(type, enough.reconcile(desired, observed))


def test_what_was_taken_away_and_what_differs_is_no_crash_loop() -> None:
    for errors in (["", "", "", ""], ["this", "that", "this"], ["this", "", "this"]):
        actions = after_losses(*errors).reconcile(Desired(workers=1), seen("lost", life=9))
        assert actions == [Start(0, 10, from_spare=False)]


def test_a_loss_that_is_told_again_counts_once() -> None:
    machine = FleetMachine()
    for _ in range(3):
        machine.note_loss(index=0, life=1, steps=0, error="boom")
    assert machine.reconcile(Desired(workers=1), seen("lost")) == [Start(0, 2, from_spare=False)]


def test_a_fleet_settles_in_one_go_whatever_happens() -> None:
    run(FleetHistories, examples=100, steps=40)
