"""The lease queue, and the interval sets it is told in."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ray_easgd.leases import LeaseBook
from ray_easgd.progress import IntervalSet, Progress, merge
from ray_easgd.protocol import Interval
from ray_easgd.session import split_lease
from tests.histories import run
from tests.lease_histories import LeaseHistories

ranges = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda r: (min(r), max(r)))


@given(st.lists(ranges, max_size=30))
def test_an_interval_set_is_a_set(added: list[tuple[int, int]]) -> None:
    intervals, plain = IntervalSet(), set[int]()
    for start, stop in added:
        numbers = set(range(start, stop))
        assert intervals.add(start, stop) == len(numbers & plain)
        plain |= numbers
    assert len(intervals) == len(plain)
    assert {k for a, b in intervals for k in range(a, b)} == plain
    missing = {k for a, b in intervals.missing(0, 60) for k in range(a, b)}
    assert missing == set(range(60)) - plain
    gaps = list(intervals)
    assert all(b < c for (_, b), (c, _) in pairwise(gaps)), "kept merged"


@given(st.lists(st.tuples(st.integers(0, 2), ranges), max_size=20), st.integers(0, 180))
def test_each_epoch_tells_what_was_seen_once_again_and_never(
    added: list[tuple[int, tuple[int, int]]], total: int
) -> None:
    progress, counts = Progress(), dict[tuple[int, int], int]()
    for epoch, (start, stop) in added:
        progress.add([Interval(epoch, start, stop)])
        for k in range(start, stop):
            counts[epoch, k] = counts.get((epoch, k), 0) + 1
    for row in progress.by_epoch(60, total):
        epoch, size = row["epoch"], max(0, min(60, total - row["epoch"] * 60))
        seen = [count for (e, _), count in counts.items() if e == epoch]
        assert row["once"] + row["again"] == len(seen)
        assert row["again"] == min(len(seen), sum(count - 1 for count in seen))
        assert row["never"] == sum((epoch, k) not in counts for k in range(size))


def test_an_epoch_that_nothing_ends_misses_what_it_has_passed() -> None:
    progress = Progress()
    progress.add([Interval(0, 0, 50), Interval(1, 0, 10), Interval(1, 20, 30)])
    first, last = progress.by_epoch(60, None)
    assert first == {"epoch": 0, "once": 50, "again": 0, "never": 10}
    assert last == {"epoch": 1, "once": 20, "again": 0, "never": 10}


def work(book: LeaseBook, progress: Progress, lease: Interval) -> None:
    progress.add([lease])
    book.observe(progress)


def test_each_sample_of_each_epoch_is_handed_out_once() -> None:
    book, progress = LeaseBook(num_samples=100, batch_size=8, total=250), Progress()
    while (lease := book.lease("w")) is not None:
        work(book, progress, lease)
    assert progress.num_distinct == 250
    assert progress.num_repeated == 0
    assert [len(progress.seen[e]) for e in range(3)] == [100, 100, 50]
    assert book.done
    assert book.num_missed == 0


def test_leases_shrink_towards_the_end() -> None:
    book = LeaseBook(num_samples=10_000, batch_size=10, total=10_000)
    book.lease("other")
    sizes: list[int] = []
    while not sizes or sizes[-1] > 10:
        lease = book.lease("w")
        assert lease is not None
        sizes.append(len(lease))
    assert sizes[0] == 160
    assert sizes == sorted(sizes, reverse=True)


def test_what_a_lost_worker_held_goes_to_another() -> None:
    book, progress = LeaseBook(num_samples=64, batch_size=8, total=64), Progress()
    held = book.lease("lost")
    assert held is not None
    progress.add([Interval(0, held.start, held.start + 4)])  # half of it had been pushed
    book.observe(progress)
    book.release("lost")
    assert book.lease("heir") == Interval(0, held.start + 4, held.stop)


def test_a_stopped_worker_cannot_hold_the_end() -> None:
    book, progress = LeaseBook(num_samples=64, batch_size=8, total=64), Progress()
    stuck = book.lease("stopped")
    while not book.done:
        lease = book.lease("w")
        assert lease is not None, "what the stopped one holds is issued again"
        work(book, progress, lease)
    assert stuck is not None
    assert progress.num_distinct == 64
    assert progress.num_repeated == 0


def test_a_backup_is_given_once_to_each_worker_and_never_to_its_holder() -> None:
    book = LeaseBook(num_samples=8, batch_size=8, total=8)
    held = book.lease("a")
    assert book.lease("b", backup=False) is None
    assert book.lease("b") == held
    assert book.lease("b") is None
    assert book.lease("a") is None


def test_what_has_the_fewest_holders_is_backed_up_first() -> None:
    book = LeaseBook(num_samples=16, batch_size=8, total=16)
    leases = {book.lease("a"), book.lease("a")}
    assert {book.lease("b"), book.lease("c")} == leases


def test_dropped_steps_are_handed_out_again() -> None:
    book = LeaseBook(num_samples=8, batch_size=8, total=8)
    held = book.lease("a")
    assert held is not None
    book.give_back([held])
    assert book.lease("b") == held


def test_another_pass_extends_the_book() -> None:
    book = LeaseBook(num_samples=8, batch_size=8, total=8)
    first = book.lease("a")
    book.extend(16)
    assert first is not None
    assert book.lease("a") == Interval(1, 0, 8)


def test_words_of_two_shards_add_up_in_whatever_order_they_were_heard() -> None:
    book = LeaseBook(num_samples=24, batch_size=8, total=24)
    held = [book.lease("a"), book.lease("b"), book.lease("c")]
    words = []
    for intervals in ([Interval(0, 0, 8)], [Interval(0, 8, 24), Interval(0, 8, 16)]):
        progress = Progress()
        progress.add(intervals)
        words.append(Progress.union([progress, Progress()]))
    for word in (*words, words[0]):
        book.observe(word)
    assert None not in held
    assert book.done
    assert (book.progress.num_distinct, book.progress.num_repeated) == (24, 8)


def test_no_epoch_ends_in_a_tiny_batch() -> None:
    book = LeaseBook(num_samples=33, batch_size=8, total=None)
    sizes = [len(lease) for lease in (book.lease("w") for _ in range(8)) if lease]
    assert all(size >= 4 for size in sizes)


def test_missed_samples_are_counted_where_an_epoch_was_handed_out() -> None:
    book, progress = LeaseBook(num_samples=16, batch_size=8, total=None), Progress()
    first, second = book.lease("a"), book.lease("b")
    assert first is not None
    assert second is not None
    work(book, progress, first)
    assert book.num_missed == len(second)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_happens_everything_is_trained_in_the_end(data: st.DataObject) -> None:
    """Workers lease, push some, die, and new ones come; one worker survives to the end."""
    size, total = data.draw(st.integers(1, 80)), data.draw(st.integers(1, 200))
    book = LeaseBook(num_samples=size, batch_size=4, total=total, max_batches=3)
    progress, held = Progress(), {"a": list[Interval](), "b": list[Interval]()}
    for _ in range(data.draw(st.integers(0, 30))):
        name = data.draw(st.sampled_from(["a", "b"]))
        action = data.draw(st.sampled_from(["lease", "push", "die"]))
        if action == "lease" and (lease := book.lease(name)) is not None:
            held[name].append(lease)
        elif action == "push" and held[name]:
            work(book, progress, held[name].pop(0))
        elif action == "die":
            held[name].clear()
            book.release(name)
    while (lease := book.lease("survivor")) is not None:
        work(book, progress, lease)
    assert book.done
    assert progress.num_distinct == total


@given(st.integers(0, 50), st.integers(1, 200), st.integers(1, 32))
def test_a_lease_splits_into_even_batches(start: int, length: int, batch_size: int) -> None:
    lease = Interval(2, start, start + length)
    batches = split_lease(lease, batch_size)
    assert merge(batches) == (lease,)
    assert max(map(len, batches)) <= batch_size
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


@given(
    total=st.integers(1, 400),
    before=st.integers(0, 40),
    lost=st.sets(st.integers(0, 40)),
    batch_size=st.integers(1, 20),
)
def test_a_resumed_queue_hands_out_exactly_what_is_missing(
    total: int, before: int, lost: set[int], batch_size: int
) -> None:
    book, progress = LeaseBook(num_samples=100, batch_size=batch_size, total=total), Progress()
    for k in range(before):
        lease = book.lease("w", backup=False)
        if lease is not None and k not in lost:
            work(book, progress, lease)
    record = json.loads(json.dumps(progress.as_record()))
    again = LeaseBook(num_samples=100, batch_size=batch_size, total=total)
    again.resume(Progress.from_record(record))
    assert again.done == book.done
    while (lease := again.lease("another")) is not None:
        work(again, progress, lease)
    assert again.done
    assert progress.num_distinct == total
    assert progress.num_repeated == 0
    assert again.num_missed == 0


def resumed_after(progress: Progress) -> LeaseBook:
    book = LeaseBook(num_samples=24, batch_size=8, total=24)
    book.resume(progress)
    return book


def test_what_a_recovered_hub_lacks_is_handed_out_again() -> None:
    book, progress = LeaseBook(num_samples=16, batch_size=8, total=16), Progress()
    first, second = book.lease("a"), book.lease("b")
    assert first is not None
    assert second is not None
    work(book, progress, first)
    book.rebase(Progress())
    assert book.progress.num_distinct == 0
    assert book.lease("c", backup=False) == first
    assert book.lease("c", backup=False) is None, "the other one is still held"


def test_what_was_lost_with_a_center_does_not_keep_the_rest_in_the_book() -> None:
    """Its holder trained on it, and told a center that has died since."""
    book, progress = LeaseBook(num_samples=80, batch_size=8, total=80, max_batches=1), Progress()
    lost = book.lease("a")
    for _ in range(5):
        lease = book.lease("a")
        assert lease is not None
        work(book, progress, lease)
    assert book.num_held == 1
    book.release("a")
    assert book.lease("b") == lost


def test_what_a_worker_says_it_holds_is_not_handed_out() -> None:
    progress = Progress()
    progress.add([Interval(0, 0, 4)])
    book = resumed_after(progress)
    book.adopt("a", [Interval(0, 0, 8), Interval(0, 0, 8), Interval(0, 16, 99), Interval(5, 0, 8)])
    assert book.lease("b", backup=False) == Interval(0, 8, 16)
    assert book.lease("b", backup=False) is None
    book.release("a")
    assert {book.lease("b"), book.lease("b")} == {Interval(0, 4, 8), Interval(0, 16, 24)}


def test_a_range_that_two_workers_hold_has_two_holders() -> None:
    book = resumed_after(Progress())
    for worker in ("a", "b"):
        book.adopt(worker, [Interval(0, 0, 24)])
    book.release("a")
    assert book.lease("c", backup=False) == Interval(0, 0, 24)


def test_what_was_trained_on_before_it_was_handed_out_is_not() -> None:
    """By a worker that a resumed book has not heard from yet."""
    book, progress = resumed_after(Progress()), Progress()
    work(book, progress, Interval(0, 0, 8))
    assert book.lease("b") == Interval(0, 8, 16)


def test_no_position_is_lost_whatever_is_lost_beside_it() -> None:
    run(LeaseHistories, examples=100, steps=30)


def test_a_record_of_progress_keeps_what_was_repeated() -> None:
    progress = Progress()
    progress.add([Interval(0, 0, 10), Interval(0, 5, 12), Interval(3, 1, 2)])
    again = Progress.from_record(json.loads(json.dumps(progress.as_record())))
    assert again.seen == progress.seen
    assert (again.num_distinct, again.num_repeated) == (13, 5)
    assert again.repeated[0] == 5
