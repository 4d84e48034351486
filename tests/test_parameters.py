"""The parameter vector: what it holds, what it refuses, what keeps working."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ray_easgd.errors import BadModel
from ray_easgd.kernels import Checksum, is_finite
from ray_easgd.parameters import ParameterVector, recompute_buffers
from tests.fakes import small_model


def test_a_model_lives_in_its_vector() -> None:
    model = small_model()
    before = [p.clone() for p in model.parameters()]
    vector = ParameterVector.bind(model)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    vector.flat.zero_()
    assert all(bool((p == 0).all()) for p in model.parameters())
    assert [s.name for s in vector.layout] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert sum(s.size for s in vector.layout) == vector.flat.numel() == 67


def test_tied_parameters_appear_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    assert ParameterVector.bind(model).flat.numel() == 16
    assert model[1].weight is model[0].weight


def test_frozen_parameters_stay_outside() -> None:
    model = small_model()
    next(model.parameters()).requires_grad_(False)
    assert ParameterVector.bind(model).flat.numel() == 67 - 32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_refused_with_the_remedy(dtype: torch.dtype) -> None:
    model = small_model()
    list(model.children())[2].to(dtype)
    with pytest.raises(BadModel, match=r"model\.2\.weight.*float32.*autocast"):
        ParameterVector.bind(model)


def test_a_lazy_layer_is_refused_with_the_remedy() -> None:
    with pytest.raises(BadModel, match="Run one batch through"):
        ParameterVector.bind(nn.Sequential(nn.LazyLinear(3)))


def test_a_model_without_anything_to_train_is_refused() -> None:
    with pytest.raises(BadModel, match=r"model = 'ReLU': it has no trainable parameter"):
        ParameterVector.bind(nn.ReLU())


def test_autocast_trains_the_vector() -> None:
    model = small_model()
    vector = ParameterVector.bind(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(torch.randn(5, 4)).float().square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    assert vector.flat.dtype == torch.float32


@pytest.mark.parametrize("first", ["compile", "bind"])
def test_a_compiled_model_trains_bound_before_or_after(first: str) -> None:
    model, inputs = small_model(), torch.randn(5, 4)
    if first == "compile":
        compiled = torch.compile(model, backend="eager")
        vector = ParameterVector.bind(compiled)  # type: ignore[arg-type]
    else:
        vector = ParameterVector.bind(model)
        compiled = torch.compile(model, backend="eager")
    assert vector.layout[0].name == "0.weight"
    expected = small_model()(inputs)
    assert torch.allclose(compiled(inputs), expected)
    vector.flat.zero_()
    assert bool((compiled(inputs) == 0).all())


def test_gradients_accumulate_over_batches() -> None:
    model = small_model()
    ParameterVector.bind(model)
    inputs = torch.randn(8, 4)
    (model(inputs).sum() / 2).backward()
    (model(inputs).sum() / 2).backward()
    accumulated = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    model(inputs).sum().backward()
    for a, p in zip(accumulated, model.parameters(), strict=True):
        assert p.grad is not None
        assert torch.allclose(a, p.grad, atol=1e-5)


def test_buffers_are_recomputed_from_batches() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    batches = [torch.randn(64, 4) * 3 + 2 for _ in range(4)]
    norm = model[0]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    norm.running_mean.fill_(99.0)
    model.eval()
    recompute_buffers(model, iter(batches))
    assert torch.allclose(norm.running_mean, torch.cat(batches).mean(0), atol=1e-5)
    assert norm.momentum == 0.1
    assert not model.training


def test_a_model_without_batchnorm_reads_no_batch() -> None:
    recompute_buffers(small_model(), (pytest.fail("read") for _ in range(1)))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [0, 40_000, 99_999])
def test_the_guard_sees_every_element(bad: float, where: int) -> None:
    d = torch.randn(100_000)
    assert is_finite(d)
    d[where] = bad
    assert not is_finite(d)
    assert is_finite(torch.full((3,), 3.4e38))


def test_the_checksum_is_linear_and_sees_a_change() -> None:
    checksum = Checksum(100_000, 1)
    a, b = torch.randn(100_000), torch.randn(100_000)
    assert checksum(a) + checksum(b) == pytest.approx(checksum(a.double() + b.double()), abs=1e-6)
    assert Checksum(100_000, 1)(a) == checksum(a) != Checksum(100_000, 2)(a)
