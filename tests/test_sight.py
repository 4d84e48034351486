"""What the driver makes of the workers' words, without a cluster."""

from __future__ import annotations

from actors.sight import Sight
from actors.words import WorkerStatus


def a_word(name: str, life: int, *, step: int, schedule_clock: int) -> WorkerStatus:
    return WorkerStatus(
        name=name, life=life, device="cpu", step=step, schedule_clock=schedule_clock
    )


def test_a_life_enters_the_schedule_where_the_others_are() -> None:
    sight = Sight(behind=500)
    assert sight.schedule_clock == 500, "nobody has taken a step: as the run before left it"
    sight.noted = [
        a_word("worker-0", 1, step=100, schedule_clock=600),
        a_word("worker-1", 1, step=300, schedule_clock=800),
        a_word("worker-1", 2, step=0, schedule_clock=0),  # starting: its last life counts
        a_word("worker-2", 2, step=10, schedule_clock=700),
    ]
    assert sight.schedule_clock == 700


def test_who_has_left_counts_no_more() -> None:
    sight = Sight()
    sight.noted = [a_word(f"worker-{k}", 1, step=50, schedule_clock=50) for k in range(1, 4)]
    sight.noted.append(a_word("worker-0", 1, step=900, schedule_clock=900))
    sight.left = {(f"worker-{k}", 1) for k in range(1, 4)}
    assert sight.schedule_clock == 900
    sight.left.add(("worker-0", 1))
    assert sight.schedule_clock == 50, "all have left: the median of what they reached"
