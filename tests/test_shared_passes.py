"""The compiled passes: equal to torch bit for bit, and nothing that is not finite gets in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ray_easgd.kernels import Checksum
from ray_easgd.shared import passes
from ray_easgd.shared.passes import NO_SIGNS, Vector

BLOCK = passes._BLOCK

# Mostly ordinary numbers, with any bits at all in a few places: infinities, NaNs with every
# payload, denormals, zeros of both signs.
sizes = st.sampled_from([1, 7, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
any_bits = st.one_of(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 0x80000000, 1, 0x007FFFFF, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00001]),
)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
rates = st.sampled_from([0.5, 0.1, 0.9 / 5, 1e-8, 1.0])


@st.composite
def triples(draw: st.DrawFn) -> tuple[Vector, Vector, Vector]:
    """Three vectors of one size."""
    n = draw(sizes)
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    vectors = [generator.standard_normal(n, np.float32) for _ in range(3)]
    for vector in vectors:
        bits = vector.view(np.uint32)
        for k, value in draw(st.dictionaries(st.integers(0, n - 1), any_bits, max_size=2)).items():
            bits[k] = value
    return vectors[0], vectors[1], vectors[2]


def reach(d: torch.Tensor) -> int:
    """How far a pass over blocks may go: to the first with a non-finite element."""
    bad = torch.nonzero(~torch.isfinite(d)).flatten()
    return int(bad[0]) // BLOCK * BLOCK if len(bad) else len(d)


def same(a: Vector, b: torch.Tensor) -> bool:
    return bool((a.view(np.int32) == b.numpy().view(np.int32)).all())


def check(reached: int, pairs: list[tuple[Vector, Vector, torch.Tensor]]) -> None:
    """(result, before, expected): as expected as far as reached, and untouched from there on."""
    for result, before, expected in pairs:
        assert same(result[:reached], expected[:reached])
        assert (result[reached:].view(np.int32) == before[reached:].view(np.int32)).all()


@given(triples(), rates)
def test_elastic_equals_torch_bit_for_bit(
    vectors: tuple[Vector, Vector, Vector], rate: float
) -> None:
    x, c, _ = vectors
    x_, c_ = torch.tensor(x), torch.tensor(c)
    d = (x_ - c_).mul_(rate)
    before = x.copy(), c.copy()
    reached, _, _ = passes.elastic(x, c, rate, 0, len(x), NO_SIGNS)
    assert reached == reach(d)
    check(reached, [(x, before[0], x_.sub_(d)), (c, before[1], c_.add_(d))])


@given(triples(), rates)
def test_elastic_later_equals_torch_bit_for_bit(
    vectors: tuple[Vector, Vector, Vector], rate: float
) -> None:
    x, c, out = vectors
    x_, c_ = torch.tensor(x), torch.tensor(c)
    d = (x_ - c_).mul_(rate)
    before = x.copy(), c.copy(), out.copy()
    reached, _, _ = passes.elastic_later(x, c, rate, out, 0, len(x), NO_SIGNS)
    assert reached == reach(d)
    check(reached, [(x, before[0], x_), (c, before[1], c_.add_(d)), (out, before[2], d)])


@given(triples())
def test_take_over_equals_torch_bit_for_bit(vectors: tuple[Vector, Vector, Vector]) -> None:
    x, base, c = vectors
    x_, base_, c_ = torch.tensor(x), torch.tensor(base), torch.tensor(c)
    d = x_ - base_
    before = x.copy(), base.copy(), c.copy()
    reached, _, _ = passes.take_over(x, base, c, 0, len(x), NO_SIGNS)
    assert reached == reach(d)
    c_.add_(d)
    # A center that was not finite before is no pass's doing; a NaN's payload is not ours to fix.
    fine = torch.isfinite(c_[:reached]).numpy()
    for result in (x, base, c):
        assert (result[:reached][fine] == c_[:reached].numpy()[fine]).all()
    check(reached, [(c, before[2], c_)])
    check(0, [(x[reached:], before[0][reached:], x_), (base[reached:], before[1][reached:], base_)])


@given(triples())
def test_add_equals_torch_bit_for_bit(vectors: tuple[Vector, Vector, Vector]) -> None:
    d, c, _ = vectors
    d_, c_ = torch.tensor(d), torch.tensor(c)
    before = d.copy(), c.copy()
    d.flags.writeable = False
    reached, _, _ = passes.add(d, c, 0, len(d), NO_SIGNS)
    assert reached == reach(d_)
    check(reached, [(d, before[0], d_), (c, before[1], c_.add_(d_))])


@given(arrays(np.float32, 2 * BLOCK + 3, elements=st.floats(-1000, 1000, width=32), fill=finite))
@settings(max_examples=30)
def test_norm_and_checksum_are_those_of_what_was_applied(d: NDArray[np.float32]) -> None:
    d = np.clip(d, -1000, 1000)
    signs = np.random.default_rng(3).integers(0, 2, len(d), dtype=np.int8) * np.int8(2) - np.int8(1)
    c = np.zeros_like(d)
    reached, norm, checksum = passes.add(d, c, 0, len(d), signs)
    assert reached == len(d)
    assert norm == pytest.approx(float((d.astype(np.float64) ** 2).sum()), rel=1e-4)
    exact = Checksum(len(d), 3)(torch.from_numpy(d))
    assert checksum == pytest.approx(exact, abs=1e-12 * float(np.abs(d).sum()) + 1e-30)


def test_every_pass_gives_the_same_norm_and_checksum_for_the_same_difference() -> None:
    n = 5 * BLOCK // 2
    x, c = np.random.default_rng(1).standard_normal((2, n)).astype(np.float32)
    signs = np.random.default_rng(3).integers(0, 2, n, dtype=np.int8) * np.int8(2) - np.int8(1)
    d = (x - c) * np.float32(0.25)
    expected = passes.add(d, c.copy(), 0, n, signs)
    assert passes.elastic(x.copy(), c.copy(), 0.25, 0, n, signs) == expected
    assert passes.elastic_later(x, c.copy(), 0.25, np.empty_like(x), 0, n, signs) == expected
    assert passes.take_over(d.copy(), np.zeros_like(d), c.copy(), 0, n, signs) == expected


def test_a_pass_keeps_within_its_bounds() -> None:
    x, c = np.ones(3 * BLOCK, np.float32), np.zeros(3 * BLOCK, np.float32)
    assert passes.elastic(x, c, 0.5, 10, BLOCK + 20, NO_SIGNS)[0] == BLOCK + 20
    inside = slice(10, BLOCK + 20)
    assert (c[inside] == 0.5).all()
    assert (x[inside] == 0.5).all()
    assert c.sum() == 0.5 * (BLOCK + 10)
    assert x.sum() == 3 * BLOCK - 0.5 * (BLOCK + 10)
