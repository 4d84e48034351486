"""The seeded permutations of an epoch, and the seeded tenth that is held out.

Every process that knows the seed computes the same ones, so a lease needs to carry only a range.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from ray_easgd.data.sets import Positions

BLOCKS_TOGETHER = 4
"""Blocks that are shuffled into each other: what a reader of consecutive positions keeps open."""

_HOLD_OUT, _ORDER = 0, 1  # separate random streams of one seed


def _generator(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed % 2**63, spawn_key=stream))


def hold_out(count: int, seed: int) -> tuple[Positions, Positions]:
    """Split ``count >= 2`` rows into nine tenths and one tenth, both ascending.

    Invariant: the two are disjoint and together are every row; neither is empty.
    """
    held = max(1, count // 10)
    shuffled = _generator(seed, _HOLD_OUT).permutation(count)
    return np.sort(shuffled[held:]), np.sort(shuffled[:held])


@dataclass(frozen=True)
class BlockOrder:
    """An epoch's order: blocks are permuted, taken four at a time, and shuffled within the four.

    ``bounds`` are the offsets at which blocks begin, and the end. One block, ``(0, n)``, makes it
    a plain permutation of ``n``; blocks that are a file's row groups keep reads together, so that
    consecutive positions lie in few row groups.

    Invariant: ``positions(0, n)`` is a permutation of ``range(n)``.
    """

    bounds: tuple[int, ...]
    seed: int
    epoch: int

    def positions(self, start: int, stop: int) -> Positions:
        return _permutation(self.bounds, self.seed, self.epoch)[start:stop]


@lru_cache(maxsize=4)  # a lease is a slice of what an earlier lease of the epoch has computed
def _permutation(bounds: tuple[int, ...], seed: int, epoch: int) -> Positions:
    generator = _generator(seed, _ORDER, epoch)
    blocks = [np.arange(start, stop) for start, stop in pairwise(bounds)]
    order = generator.permutation(len(blocks))
    mixed = [
        generator.permutation(np.concatenate([blocks[b] for b in order[i : i + BLOCKS_TOGETHER]]))
        for i in range(0, len(order), BLOCKS_TOGETHER)
    ]
    permutation = np.concatenate(mixed)
    permutation.flags.writeable = False  # shared by everyone who asks for this epoch
    return permutation
