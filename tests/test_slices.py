"""A vector exchanged in slices: fragments in turn, shards together, one book of data."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ray_easgd.algorithms import METHODS, Algorithm
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.errors import BadConfig
from ray_easgd.hub import Hub
from ray_easgd.local import LocalLink
from ray_easgd.progress import Progress
from ray_easgd.protocol import Interval, WireFormat
from ray_easgd.session import Session
from ray_easgd.slices import Slices, cut
from tests.fakes import BookLeases, Recorder, make_hub, small_model
from tests.test_elastic import BALANCED, train

N = 67  # of small_model


@given(n=st.integers(1, 10_000), shards=st.integers(1, 9), fragments=st.integers(1, 9))
def test_slices_cover_the_vector_evenly(n: int, shards: int, fragments: int) -> None:
    if n < shards * fragments:
        with pytest.raises(BadConfig, match="too few"):
            cut(n, shards, fragments)
        return
    ranges = cut(n, shards, fragments)
    assert len(ranges) == shards * fragments
    assert [k for start, stop in ranges for k in range(start, stop)] == list(range(n))
    sizes = [stop - start for start, stop in ranges]
    assert max(sizes) - min(sizes) <= 2


def session_on(
    hubs: list[Hub],
    algorithm: Algorithm,
    *,
    period: int = 4,
    shards: int = 1,
    wire_format: WireFormat = "float32",
) -> Session:
    return Session(
        name="worker",
        index=0,
        seed=7,
        options=ElasticOptions(
            algorithm=algorithm, period=period, lead=0, ledger_seed=1, wire_format=wire_format
        ),
        links=[LocalLink(hub) for hub in hubs],
        shards=shards,
        leases=BookLeases(256),
        reporter=Recorder(),
        batch_size=8,
    )


def hubs_for(algorithm: Algorithm, num: int) -> list[Hub]:
    return [make_hub(algorithm) for _ in range(num)]


def vector_of(hubs: list[Hub]) -> Tensor:
    return torch.cat([hub.snapshot().vector for hub in hubs])


def slices_of(session: Session) -> Slices:
    return session.elastic(small_model())


def test_fragments_take_turns_and_shards_do_not() -> None:
    hubs = hubs_for(METHODS["easgd"], 4)
    elastic = slices_of(session_on(hubs, METHODS["easgd"], period=8, shards=2))
    counts = []
    for _ in range(16):
        elastic.vector.flat.add_(1.0)
        elastic.step()
        counts.append([hub.version.count for hub in hubs])
    assert counts[3] == [0, 1, 0, 1], "the second fragment of each shard is half a period early"
    assert counts[7] == [1, 1, 1, 1]
    assert counts[11] == [1, 2, 1, 2]
    assert counts[15] == [2, 2, 2, 2]


def test_peak_traffic_falls_with_the_number_of_fragments() -> None:
    def peak(fragments: int) -> int:
        hubs = hubs_for(METHODS["easgd"], fragments)
        elastic = slices_of(session_on(hubs, METHODS["easgd"], period=8))
        sent = [0]
        for _ in range(24):
            elastic.step()
            sent.append(elastic.counts.bytes_sent)
        return max(b - a for a, b in pairwise(sent))

    assert peak(1) == 4 * N
    assert peak(4) == 4 * 17


@pytest.mark.parametrize("wire_format", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("num", [1, 3])
@pytest.mark.parametrize("algorithm", BALANCED, ids=lambda a: a.name)
def test_ledgers_balance_and_every_sample_is_booked_once(
    algorithm: Algorithm, num: int, wire_format: WireFormat
) -> None:
    hubs = hubs_for(algorithm, num)
    train(session_on(hubs, algorithm, wire_format=wire_format), momentum=algorithm.momentum)
    errors = [hub.ledger_error() for hub in hubs]
    assert all(error is not None and error < 1e-5 for error in errors)
    together = Progress.union(hub.progress for hub in hubs)
    assert together.num_distinct == 256
    assert together.num_repeated == 0


@pytest.mark.parametrize("wire_format", ["bfloat16", "int8"])
@pytest.mark.parametrize("name", ["downpour", "local_sgd"])
def test_what_rounding_keeps_back_goes_with_the_next_push(
    name: str, wire_format: WireFormat
) -> None:
    """Where ``x`` is overwritten: all that was ever done is in the center, or still in ``x``."""
    algorithm = METHODS[name]
    (hub,) = hubs = hubs_for(algorithm, 1)
    elastic = slices_of(session_on(hubs, algorithm, period=2, wire_format=wire_format))
    start, done = elastic.vector.flat.clone(), torch.zeros(N)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        step = torch.randn(N, generator=generator) * 0.01
        done += step
        elastic.vector.flat.add_(step)
        elastic.step()
    left = elastic.vector.flat - hub.snapshot().vector
    assert torch.allclose(elastic.vector.flat - start, done, atol=1e-5)
    assert 0 < float(left.norm()) < 0.01 * float(done.norm())


def test_data_is_booked_once_every_slice_has_what_it_did() -> None:
    algorithm = METHODS["easgd"]
    hubs = hubs_for(algorithm, 2)
    session = session_on(hubs, algorithm, period=4)
    elastic = slices_of(session)
    booked = []
    for k in range(8):
        session._stepped.append(Interval(0, 8 * k, 8 * k + 8))
        elastic.vector.flat.add_(1.0)
        elastic.step()
        booked.append([hub.progress.num_distinct for hub in hubs])
    # The second slice pushes at steps 2 and 6, the first at 4 and 8.
    assert booked[1] == [0, 0], "the first slice has nothing of these steps yet"
    assert booked[3] == [16, 0], "both have the first two steps"
    assert booked[5] == [16, 16], "both have the first four"
    assert booked[7] == [32, 16]


def test_one_slice_that_is_not_finite_sends_all_of_them_back_to_the_center() -> None:
    algorithm = METHODS["easgd"]
    hubs = hubs_for(algorithm, 3)
    session = session_on(hubs, algorithm, period=3)
    elastic = slices_of(session)
    elastic.vector.flat.add_(1.0)
    elastic.vector.flat[N - 1] = float("nan")
    leases = BookLeases(64)
    leases.open(64, 8, 1)
    lease = leases.next()
    assert lease is not None
    session.leases = leases
    session._stepped.append(lease)
    for _ in range(2):  # of the three, the last slice is due at the second step
        elastic.step()
    assert elastic.counts.restarts == 1
    assert torch.isfinite(elastic.vector.flat).all()
    assert leases.next() == lease, "somebody has to take those steps again"


def test_a_slice_for_each_element_and_no_more() -> None:
    algorithm = METHODS["easgd"]
    with pytest.raises(BadConfig, match=r"exchange\.fragments = 68"):
        slices_of(session_on(hubs_for(algorithm, 68), algorithm))
    assert len(cut(N, 1, N)) == N


def test_overlapping_books_count_what_was_repeated() -> None:
    one, two = Progress(), Progress()
    one.add([Interval(0, 0, 10), Interval(0, 5, 10)])
    two.add([Interval(0, 8, 12)])
    both = Progress.union([one, two])
    assert (both.num_distinct, both.num_repeated) == (12, 7)
    assert both.repeated == {0: 7}
