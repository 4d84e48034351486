"""The child's half of an exchange by messages: one pass, or the exchange's own formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ray_easgd.algorithms import METHODS
from ray_easgd.algorithms.contract import Order
from ray_easgd.algorithms.elastic import ElasticExchange
from ray_easgd.apart import Difference, difference
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.hub import Hub, options_for
from ray_easgd.local import LocalLink
from ray_easgd.parameters import ParameterVector, Slot
from ray_easgd.protocol import WireFormat
from ray_easgd.staging import OnCpu, staging_for
from ray_easgd.telling import Telling
from ray_easgd.wire import Parcel, decoded
from tests.fakes import Recorder

LARGE = 100_000  # takes the compiled pass
EASGD = METHODS["easgd"]
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: CUDA is absent")


class OwnFormula(ElasticExchange):
    """The same formula under another name, which gets no compiled pass."""


def vectors(n: int = LARGE, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator=generator), torch.randn(n, generator=generator)


def test_a_derived_exchange_inherits_no_compiled_pass() -> None:
    assert ElasticExchange().fused_pass == "elastic"
    assert OwnFormula().fused_pass == ""


@pytest.mark.parametrize("may_move", [False, True])
def test_one_pass_gives_what_the_formula_gives_to_the_bit(may_move: bool) -> None:
    x, c = vectors()
    expected = ElasticExchange().difference(x, c, {}, moving_rate=0.3)
    moved = x - expected
    start, given = x.clone(), c.clone()
    found = difference(
        ElasticExchange(), x, c, {}, 0.3, OnCpu(), wire_format="float32", may_move=may_move
    )
    assert found is not None
    assert torch.equal(found.d, expected)
    assert found.payload is found.d
    assert torch.equal(c, given)
    assert found.has_moved is may_move
    assert torch.equal(x, moved if may_move else start)
    assert found.norm == pytest.approx(float(expected.norm()), rel=1e-5)


@pytest.mark.parametrize("n", [100, LARGE])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("wire_format", ["float32", "bfloat16", "int8"])
def test_what_is_not_finite_does_not_travel(n: int, poison: float, wire_format: WireFormat) -> None:
    x, c = vectors(n)
    x[n - 3] = poison
    found = difference(ElasticExchange(), x, c, {}, 0.3, OnCpu(), wire_format=wire_format)
    assert found is None


@pytest.mark.parametrize("order", ["between_steps", "at_snapshot"])
def test_workers_with_and_without_the_pass_end_in_the_same_place(order: Order) -> None:
    ends = []
    for exchange in (ElasticExchange(), OwnFormula()):
        algorithm = EASGD.__class__(
            name="easgd",
            summary="",
            source="",
            exchange=exchange,
            local_step="sgd",
            conserves="sum",
            period=2,
            lr=0.1,
        )
        hub = Hub(options_for(algorithm, ledger_seed=1))
        vector = ParameterVector(vectors()[0].clone(), (Slot("x", (LARGE,), 0, LARGE),))
        options = ElasticOptions(algorithm=algorithm, period=2, order=order, lead=0, ledger_seed=1)
        worker = Elastic(vector, LocalLink(hub), options, Recorder())
        for k in range(10):
            vector.flat.add_(vectors(seed=k)[1], alpha=0.1)
            worker.step()
        ends.append((vector.flat, hub.snapshot().vector))
        assert worker.counts.moves == 5 if order == "between_steps" else 4
        error = hub.ledger_error()
        assert error is not None
        assert error < 1e-6
    assert torch.equal(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])


def test_losses_are_told_as_their_mean_since_the_last_time() -> None:
    told = Telling(Recorder(), "w", conserves=True)
    assert told.take_loss() is None
    told.add_loss(None)
    told.add_loss(1.0)
    told.add_loss(torch.tensor(2.0, requires_grad=True) * 2)
    assert told.take_loss() == 2.5
    assert told.take_loss() is None


@pytest.mark.gpu
@NEEDS_GPU
def test_a_gpus_differences_are_computed_there_and_travel_through_pinned_memory() -> None:
    x, c = vectors()
    on_gpu = x.cuda()
    staging = staging_for(on_gpu.device)
    there = staging.ready(staging.bring(c))
    assert there.is_cuda
    found = difference(ElasticExchange(), on_gpu, there, {}, 0.3, staging, wire_format="int8")
    assert found is not None
    assert found.d.is_cuda
    assert torch.equal(found.d.cpu(), decoded(found.payload)), "both ends apply what was rounded"


@pytest.mark.gpu
@NEEDS_GPU
def test_a_gpus_difference_is_checked_there_and_lands_in_pinned_memory() -> None:
    x, c = vectors()
    on_gpu = x.cuda()
    staging = staging_for(on_gpu.device)

    def found_now() -> Difference | None:
        exchange = ElasticExchange()
        return difference(exchange, on_gpu, c.cuda(), {}, 0.3, staging, wire_format="float32")

    found = found_now()
    assert found is not None
    assert isinstance(found.payload, Parcel)
    assert found.payload.landed().is_pinned()
    assert torch.equal(found.d.cpu(), found.payload.landed())
    assert found.norm == pytest.approx(float(found.d.norm()))
    on_gpu[7] = float("nan")
    assert found_now() is None


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("by_clerk", [False, True])
@pytest.mark.parametrize("order", ["between_steps", "at_snapshot"])
def test_a_worker_on_a_gpu_keeps_the_sum_of_both_ends(by_clerk: bool, order: Order) -> None:
    from ray_easgd.shared_hub import SharedHub

    hub = SharedHub(options_for(EASGD, ledger_seed=1))
    vector = ParameterVector(vectors()[0].cuda(), (Slot("x", (LARGE,), 0, LARGE),))
    options = ElasticOptions(algorithm=EASGD, period=1, order=order, lead=0, ledger_seed=1)
    link = LocalLink(hub, in_place=by_clerk, by_clerk=by_clerk)
    worker = Elastic(vector, link, options, Recorder())
    vector.flat.add_(1.0)
    before = vector.flat.cpu().double() + hub.snapshot().vector.double()
    for _ in range(5):
        worker.step()
    if order == "at_snapshot":
        worker.step()  # what the fifth exchange still owes; the sixth owes again
        owed = worker._pending
        assert owed is not None
        vector.flat.sub_(owed)
    link.drain()
    after = vector.flat.cpu().double() + hub.snapshot().vector.double()
    assert vector.flat.is_cuda
    assert torch.allclose(before, after, atol=1e-5)
    assert hub.header().version.count == (6 if order == "at_snapshot" else 5)
    error = hub.ledger_error()
    assert error is not None
    assert error < 1e-6
