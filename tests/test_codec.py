"""Wire formats: what is decoded is what both ends apply, bit for bit."""

from __future__ import annotations

import pickle
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from ray_easgd.codec import (
    Coded,
    add_,
    bfloat16,
    decode,
    decode_onto,
    encode,
    encode_,
    encode_from,
    int8,
)
from ray_easgd.protocol import WireFormat


def bits(pattern: int) -> float:
    return float(np.uint32(pattern).view(np.float32))


FORMATS: tuple[WireFormat, ...] = get_args(WireFormat)
BLOCK = int8.BLOCK
SIZES = (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2047, 2048, 2049, 10_000)
LARGEST = float(np.finfo(np.float32).max)
SMALLEST_NORMAL = 2.0**-126
LARGEST_SCALE = bits(0x7C010203)  # the last one whose 127-fold is finite

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
extreme = st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 1e-38, SMALLEST_NORMAL, LARGEST, -LARGEST])
vectors = st.one_of(
    arrays(np.float32, st.integers(0, 2 * BLOCK + 3), elements=finite),
    arrays(np.float32, st.integers(0, 9), elements=finite | extreme),
).map(torch.from_numpy)

every_format = pytest.mark.parametrize("form", FORMATS)
unhurried = settings(deadline=None)  # the first call of a loop may compile it
every_size = pytest.mark.parametrize("n", SIZES)


def normal(n: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)) * scale


def same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.view(torch.int32), b.view(torch.int32))


def coded(d: Tensor, form: WireFormat) -> Coded:
    result = encode(d, form)
    assert result is not None
    return result


def quantised(d: Tensor, form: WireFormat) -> Tensor:
    """The oracle: what the other end should decode, in plain torch."""
    if form == "float32":
        return d.clone()
    if form == "bfloat16":
        largest = torch.finfo(torch.bfloat16).max
        return d.to(torch.bfloat16).float().clamp(-largest, largest)
    blocks = torch.nn.functional.pad(d, (0, -d.numel() % BLOCK)).view(-1, BLOCK)
    largest_in = blocks.abs().amax(dim=1, keepdim=True) if d.numel() else blocks[:, :1]
    scale = (largest_in / 127).clamp(SMALLEST_NORMAL, LARGEST_SCALE)
    codes = torch.round(blocks * (1 / scale)).to(torch.int8)
    return (codes.float() * scale).view(-1)[: d.numel()]


@every_format
@unhurried
@given(d=vectors)
def test_what_is_decoded_is_what_the_oracle_says(form: WireFormat, d: Tensor) -> None:
    assert same_bits(decode(coded(d, form)), quantised(d, form))


@every_size
@every_format
def test_every_size_makes_the_round_trip(form: WireFormat, n: int) -> None:
    d = normal(n)
    wire = coded(d, form)
    assert wire.n == n
    assert (
        wire.nbytes
        == {
            "float32": 4 * n,
            "bfloat16": 2 * n,
            "int8": n + 4 * ((n + BLOCK - 1) // BLOCK),
        }[form]
    )
    assert same_bits(decode(wire), quantised(d, form))
    assert same_bits(decode(wire, torch.full((n,), 7.0)), quantised(d, form))


@every_format
@unhurried
@given(d=vectors)
def test_in_place_both_ends_have_the_same(form: WireFormat, d: Tensor) -> None:
    kept = d.clone()
    expected = coded(kept, form)
    wire = encode_(d, form)
    assert wire is not None
    assert all(np.array_equal(a, b) for a, b in zip(wire.parts, expected.parts, strict=True))
    assert same_bits(d, decode(wire))


@every_format
@unhurried
@given(d=vectors)
def test_encode_leaves_the_vector_alone(form: WireFormat, d: Tensor) -> None:
    kept = d.clone()
    coded(d, form)
    assert same_bits(d, kept)


@unhurried
@given(d=vectors)
def test_bfloat16_is_off_by_half_a_unit_at_most(d: Tensor) -> None:
    dropped = (d.double() - decode(coded(d, "bfloat16")).double()).abs()
    assert bool((dropped <= (d.double().abs() * 2.0**-8).clamp(min=2.0**-134)).all())


@unhurried
@given(d=vectors)
def test_int8_is_off_by_half_a_step_at_most(d: Tensor) -> None:
    wire = coded(d, "int8")
    step = torch.from_numpy(wire.parts[1]).double().repeat_interleave(BLOCK)[: wire.n]
    dropped = (d.double() - decode(wire).double()).abs()
    assert bool((dropped <= 0.50002 * step).all())


@unhurried
@given(d=vectors)
def test_int8_decodes_to_normal_numbers_and_zeros_only(d: Tensor) -> None:
    result = decode(coded(d, "int8")).abs()
    assert bool(torch.isfinite(result).all())
    assert bool(((result == 0) | (result >= SMALLEST_NORMAL)).all())


@unhurried
@given(d=vectors)
def test_int8_scales_are_zero_for_zeros_and_the_largest_over_127_else(d: Tensor) -> None:
    scales = coded(d, "int8").parts[1]
    for scale, block in zip(scales, d.split(BLOCK), strict=False):
        largest = float(block.abs().max())
        if largest == 0:
            assert scale == 0
        else:
            assert scale == pytest.approx(max(largest / 127, SMALLEST_NORMAL), rel=2e-7)


def test_int8_uses_all_of_its_range() -> None:
    codes = coded(normal(BLOCK), "int8").parts[0]
    assert np.abs(codes.astype(int)).max() == 127


@pytest.mark.parametrize("form", ["float32", "bfloat16"])
@unhurried
@given(d=vectors)
def test_coding_twice_is_coding_once(form: WireFormat, d: Tensor) -> None:
    once = decode(coded(d, form))
    assert same_bits(decode(coded(once, form)), once)


@unhurried
@given(d=vectors)
def test_int8_coded_twice_has_the_same_integers(d: Tensor) -> None:
    once = coded(d, "int8")
    assert np.array_equal(coded(decode(once), "int8").parts[0], once.parts[0])


@every_format
@unhurried
@given(data=st.data())
def test_fused_passes_equal_their_composition(form: WireFormat, data: st.DataObject) -> None:
    d = data.draw(vectors)
    c, base = (
        torch.from_numpy(data.draw(arrays(np.float32, d.numel(), elements=finite)))
        for _ in range(2)
    )
    wire = coded(d, form)
    assert same_bits(add_(c.clone(), wire), c.clone().add_(decode(wire)))
    assert same_bits(decode_onto(base, wire), base + decode(wire))
    assert same_bits(decode_onto(base, wire, out=c.clone()), base + decode(wire))
    difference, expected = encode_from(base, c, form), encode(c - base, form)
    assert (difference is None) == (expected is None)
    if difference is not None and expected is not None:
        assert same_bits(decode(difference), decode(expected))


@every_size
@every_format
def test_fused_passes_equal_their_composition_at_every_size(form: WireFormat, n: int) -> None:
    c, base = normal(n, 1), normal(n, 2)
    wire = encode_from(base, c, form)
    assert wire is not None
    assert same_bits(decode(wire), quantised(c - base, form))
    assert same_bits(decode_onto(base, wire), base + quantised(c - base, form))
    assert same_bits(add_(c.clone(), wire), c + quantised(c - base, form))


def test_adding_returns_the_vector_it_moved() -> None:
    c = torch.zeros(3)
    assert add_(c, coded(torch.ones(3), "int8")) is c
    assert torch.equal(c, torch.ones(3))


@every_format
def test_decoding_onto_itself_is_adding(form: WireFormat) -> None:
    c, wire = normal(3000), coded(normal(3000, 1), form)
    expected = add_(c.clone(), wire)
    decode_onto(c, wire, out=c)
    assert same_bits(c, expected)


@every_format
@pytest.mark.parametrize("where", [*range(BLOCK), BLOCK, 2 * BLOCK + 4, 2047, 2048, 2052])
def test_no_infinity_gets_through_anywhere(form: WireFormat, where: int) -> None:
    d, zeros = normal(2053), torch.zeros(2053)
    d[where] = float("inf")
    assert encode(d, form) is None
    assert encode_from(zeros, d, form) is None
    assert encode_(-d, form) is None


@every_format
@unhurried
@given(payload=st.integers(1, 0x7FFFFF), negative=st.booleans(), n=st.integers(1, 600))
def test_no_nan_gets_through_whatever_its_payload(
    form: WireFormat, payload: int, negative: bool, n: int
) -> None:
    d = normal(n)
    pattern = 0x7F800000 | payload | (0x80000000 if negative else 0)
    d.view(torch.int32)[n // 2] = int(np.uint32(pattern).astype(np.int32))
    assert encode(d, form) is None
    assert encode_(d, form) is None


@every_format
def test_a_difference_that_overflows_is_not_coded(form: WireFormat) -> None:
    huge = torch.full((300,), LARGEST)
    assert encode_from(-huge, huge, form) is None
    assert encode_from(huge, huge, form) is not None


@pytest.mark.parametrize("low", [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
def test_bfloat16_rounds_every_upper_half_to_nearest_even(low: int) -> None:
    upper = np.arange(1 << 16, dtype=np.uint32)
    d = torch.from_numpy((upper << 16 | np.uint32(low)).view(np.float32))
    d = d[torch.isfinite(d)].contiguous()
    assert same_bits(decode(coded(d, "bfloat16")), quantised(d, "bfloat16"))


def test_int8_rounds_ties_to_even() -> None:
    d = torch.tensor([127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5])
    assert coded(d, "int8").parts[0].tolist() == [127, 0, 2, 2, 0, -2, -2]


def test_bfloat16_saturates_where_rounding_would_give_infinity() -> None:
    largest = torch.finfo(torch.bfloat16).max
    d = torch.tensor([LARGEST, -LARGEST, largest, -largest])
    assert torch.isinf(d.to(torch.bfloat16)).tolist() == [True, True, False, False]
    assert decode(coded(d, "bfloat16")).tolist() == [largest, -largest, largest, -largest]


@every_format
def test_one_block_of_the_largest_number_stays_finite(form: WireFormat) -> None:
    for k in range(200):  # the 200 largest floats
        d = torch.full((3,), bits(0x7F7FFFFF - k))
        assert bool(torch.isfinite(decode(coded(d, form))).all())


def through_a_store(wire: Coded) -> Coded:
    """As an object store gives it back: buffers out of band, and read-only."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(wire, protocol=5, buffer_callback=buffers.append)
    assert sum(b.raw().nbytes for b in buffers) == wire.nbytes
    assert len(data) < 1000
    copies = [bytes(b.raw()) for b in buffers]
    result: Coded = pickle.loads(data, buffers=copies)
    return result


@every_size
@every_format
def test_a_trip_through_a_zero_copy_store(form: WireFormat, n: int) -> None:
    d, c = normal(n), normal(n, 1)
    wire = coded(d, form)
    arrived = through_a_store(wire)
    assert not any(part.flags.writeable for part in arrived.parts)
    assert (arrived.format, arrived.n) == (form, n)
    assert same_bits(decode(arrived), decode(wire))
    assert same_bits(add_(c.clone(), arrived), add_(c.clone(), wire))
    assert same_bits(decode_onto(c, arrived), decode_onto(c, wire))


def test_what_arrives_read_only_compiles_nothing_anew() -> None:
    loops = [
        getattr(module, name)
        for module in (bfloat16, int8)
        for name in ("_decode", "_add", "_decode_onto")
    ]
    for wire in (coded(normal(9), "bfloat16"), coded(normal(9), "int8")):
        decode_onto(add_(torch.zeros(9), wire), wire)
        decode(wire)
    before = [len(loop.signatures) for loop in loops]
    for form in FORMATS:
        test_a_trip_through_a_zero_copy_store(form, 300)
    assert [len(loop.signatures) for loop in loops] == before
    assert min(before) == 1


@every_format
def test_nothing_is_lost_over_many_pushes(form: WireFormat) -> None:
    """Error feedback: what left, and what stayed in x, is all there ever was."""
    x, sent = torch.zeros(1000), torch.zeros(1000, dtype=torch.float64)
    total = torch.zeros(1000, dtype=torch.float64)
    for k in range(200):
        step = normal(1000, seed=k, scale=0.1)
        total += step
        x += step
        d = x * 0.3
        wire = encode_(d, form)
        assert wire is not None
        x -= d
        sent += decode(wire)
    assert torch.allclose(sent + x, total, atol=1e-5)
    assert float(sent.norm()) > float(x.norm())


@every_format
@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(4, dtype=torch.float64),
        torch.zeros(8)[::2],
        torch.zeros(2, 2),
        torch.zeros(4, device="meta"),
    ],
    ids=["float64", "strided", "matrix", "elsewhere"],
)
def test_only_flat_float32_vectors_are_coded(form: WireFormat, wrong: Tensor) -> None:
    with pytest.raises(ValueError, match="contiguous float32 CPU tensor"):
        encode(wrong, form)


@every_format
def test_a_wrong_length_is_refused(form: WireFormat) -> None:
    wire, wrong = coded(torch.zeros(4), form), torch.zeros(3)
    for attempt in (
        lambda: decode(wire, wrong),
        lambda: add_(wrong, wire),
        lambda: decode_onto(wrong, wire),
        lambda: decode_onto(torch.zeros(4), wire, out=wrong),
        lambda: encode_from(wrong, torch.zeros(4), form),
    ):
        with pytest.raises(ValueError, match="of shape"):
            attempt()
