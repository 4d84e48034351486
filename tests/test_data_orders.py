"""Orders of an epoch and the tenth that is held out."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_easgd.data.order import BLOCKS_TOGETHER, BlockOrder, hold_out

seeds = st.integers(-(2**63), 2**63 - 1)
block_sizes = st.lists(st.integers(0, 30), min_size=1, max_size=20)


def order_of(sizes: list[int], seed: int = 0, epoch: int = 0) -> BlockOrder:
    return BlockOrder((0, *accumulate(sizes)), seed, epoch)


@given(sizes=block_sizes, seed=seeds, epoch=st.integers(0, 99), data=st.data())
def test_an_order_is_a_permutation_in_whatever_ranges_it_is_read(
    sizes: list[int], seed: int, epoch: int, data: st.DataObject
) -> None:
    count = sum(sizes)
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=5)))
    order = order_of(sizes, seed, epoch)
    ranges = [order.positions(start, stop) for start, stop in pairwise([0, *cuts, count])]
    assert sorted(np.concatenate(ranges)) == list(range(count))


@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=20), seed=seeds)
def test_consecutive_positions_stay_in_few_blocks(sizes: list[int], seed: int) -> None:
    count = sum(sizes)
    order = order_of(sizes, seed)
    block = np.searchsorted(order.bounds, order.positions(0, count), side="right")
    places = [np.flatnonzero(block == b) for b in np.unique(block)]
    unfinished = [sum(p[0] <= k <= p[-1] for p in places) for k in range(count)]
    assert max(unfinished) <= BLOCKS_TOGETHER


def test_the_same_seed_and_epoch_give_the_same_order() -> None:
    first, again = (order_of([500], seed=3, epoch=7).positions(0, 500) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize(("seed", "epoch"), [(3, 8), (4, 7)])
def test_another_seed_or_epoch_gives_another_order(seed: int, epoch: int) -> None:
    order = order_of([500], seed=3, epoch=7).positions(0, 500)
    assert not np.array_equal(order, order_of([500], seed, epoch).positions(0, 500))


def test_an_order_is_what_it_was_in_the_last_release() -> None:
    """A run that is resumed by another version must know which samples it has seen."""
    order = order_of([10], seed=1, epoch=2)
    assert order.positions(0, 10).tolist() == [2, 3, 6, 8, 0, 9, 7, 4, 5, 1]


def test_a_lease_is_a_view_of_a_permutation_computed_once() -> None:
    order = order_of([100_000], seed=5)
    first, second = order.positions(0, 10), order.positions(99_000, 100_000)
    assert first.base is not None
    assert first.base is second.base


def test_a_lease_cannot_change_the_order_of_another() -> None:
    with pytest.raises(ValueError, match="read-only"):
        order_of([10]).positions(0, 10)[0] = 1


@given(count=st.integers(2, 3000), seed=seeds)
def test_the_held_out_tenth_and_the_rest_are_all_rows_once(count: int, seed: int) -> None:
    train, validation = hold_out(count, seed)
    assert sorted([*train, *validation]) == list(range(count))
    assert len(validation) == max(1, count // 10)


def test_the_tenth_held_out_depends_on_the_seed_alone() -> None:
    assert np.array_equal(hold_out(1000, 1)[1], hold_out(1000, 1)[1])
    assert not np.array_equal(hold_out(1000, 1)[1], hold_out(1000, 2)[1])
