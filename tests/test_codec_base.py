"""Coded pulls: one base for all children, renewed now and then."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from ray_easgd.codec import Publication, SharedBase, decode_onto
from ray_easgd.protocol import Version, WireFormat

CODED: tuple[WireFormat, ...] = ("bfloat16", "int8")
both = pytest.mark.parametrize("form", CODED)


def normal(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


@dataclass
class Store:
    """The caller's side: whole centers by the version that names them."""

    shared: SharedBase
    wholes: dict[Version, Tensor] = field(default_factory=dict)
    count: int = 0

    def publish(self, c: Tensor, children: int = 1) -> Publication:
        self.count += 1
        publication = self.shared.publish(Version(1, self.count), c, children=children)
        if publication.renews:
            self.wholes[publication.base] = c.clone()
        return publication

    def read(self, publication: Publication) -> Tensor:
        base = self.wholes[publication.base]
        return base if publication.coded is None else decode_onto(base, publication.coded)


@both
def test_the_first_center_goes_out_whole(form: WireFormat) -> None:
    publication = SharedBase(form).publish(Version(3, 7), normal(10))
    assert publication.renews
    assert publication.base == Version(3, 7)


@both
def test_the_base_is_renewed_after_so_many_publications(form: WireFormat) -> None:
    store, c = Store(SharedBase(form, renew_every=3)), normal(1000)
    renewed = [store.publish(c + 1e-4 * k).renews for k in range(7)]
    assert renewed == [True, False, False, True, False, False, True]


@both
def test_more_children_share_a_base_for_longer(form: WireFormat) -> None:
    store, c = Store(SharedBase(form, renew_every=2)), normal(1000)
    renewed = [store.publish(c + 1e-4 * k, children=3).renews for k in range(7)]
    assert renewed == [True, False, False, False, False, False, True]


@both
def test_a_difference_costs_its_format_and_names_its_base(form: WireFormat) -> None:
    store, c = Store(SharedBase(form)), normal(2560)
    store.publish(c)
    second = store.publish(c + 0.01)
    assert second.base == Version(1, 1)
    assert second.coded is not None
    assert second.coded.format == form
    assert second.coded.nbytes == {"bfloat16": 5120, "int8": 2600}[form]


@both
def test_a_child_that_missed_many_and_a_renewal_still_has_the_center(form: WireFormat) -> None:
    store, c = Store(SharedBase(form, renew_every=5)), normal(3000)
    held = store.publish(c)
    assert torch.equal(store.read(held), c)
    last = held
    for k in range(1, 8):
        c = c + 0.01 * normal(3000, seed=k)
        last = store.publish(c)
    assert last.base == Version(1, 6)
    assert last.coded is not None
    moved = float((c - store.wholes[last.base]).abs().max())
    assert float((store.read(last) - c).abs().max()) <= moved / 250


@both
def test_errors_do_not_add_up(form: WireFormat) -> None:
    """Each publication codes the center anew: the last is no worse than its own rounding."""
    store, c = Store(SharedBase(form, renew_every=1000)), normal(1000)
    last = store.publish(c)
    for k in range(300):
        c = c + 0.001 * normal(1000, seed=k)
        last = store.publish(c)
    assert last.base == Version(1, 1)
    way = float((c - store.wholes[last.base]).abs().max())
    assert 0 < float((store.read(last) - c).abs().max()) <= way / 250


@both
def test_a_center_that_stands_still_is_exact(form: WireFormat) -> None:
    store, c = Store(SharedBase(form)), normal(1000)
    store.publish(c)
    assert torch.equal(store.read(store.publish(c)), c)


@both
def test_the_hub_may_go_on_writing_to_its_vector(form: WireFormat) -> None:
    store, c = Store(SharedBase(form)), normal(1000)
    store.publish(c)
    c.add_(0.25)
    assert torch.allclose(store.read(store.publish(c)), c, atol=1e-2)


@both
def test_another_length_renews(form: WireFormat) -> None:
    store = Store(SharedBase(form))
    store.publish(normal(10))
    assert store.publish(normal(11)).renews


@both
def test_what_cannot_be_coded_goes_out_whole(form: WireFormat) -> None:
    store, c = Store(SharedBase(form)), torch.full((4,), -3e38)
    store.publish(c)
    overflowing = store.publish(-c)
    assert overflowing.renews
    broken = store.publish(torch.full((4,), float("nan")))
    assert broken.renews
    assert store.publish(c).renews
    assert not store.publish(c).renews


def test_int8_renews_where_one_element_would_make_its_block_coarse() -> None:
    store, c = Store(SharedBase("int8")), normal(256)
    store.publish(c)
    jumped = c.clone()
    jumped[0] += 20.0
    assert store.publish(jumped).renews
    assert not store.publish(jumped + 0.01 * normal(256, 1)).renews


def test_int8_keeps_its_base_just_below_the_tolerance() -> None:
    """The expected error, as stated: step**2 / 12 an element against 2**-9 of the base's norm."""
    base = torch.ones(256)
    edge = 2.0**-9 * 12**0.5 * 127  # the largest element of c - base that is still coded
    for factor, renews in ((0.99, False), (1.01, True)):
        store, c = Store(SharedBase("int8")), base.clone()
        store.publish(c)
        c[0] += factor * edge
        assert store.publish(c).renews is renews


def test_float32_always_goes_out_whole() -> None:
    store, c = Store(SharedBase("float32")), normal(10)
    assert [store.publish(c).renews for _ in range(3)] == [True] * 3
    assert store.shared._base is None
