"""The tie of a worker to its center, against a hub in the same process."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ray_easgd.algorithms import METHODS, Algorithm, Nesterov
from ray_easgd.algorithms.count import count
from ray_easgd.elastic import Elastic
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.errors import Diverged
from ray_easgd.hub import Hub
from ray_easgd.local import LocalLink
from ray_easgd.parameters import ParameterVector
from ray_easgd.session import RunEnded, Session
from tests.fakes import Points, Recorder, make_hub, make_session, small_model

ELASTIC = [METHODS["easgd"], METHODS["eamsgd"]]
ALL = list(METHODS.values())
BALANCED = [a for a in ALL if a.conserves != "none"]


def tie(
    hub: Hub, algorithm: Algorithm, *, period: int = 1, model: nn.Module | None = None
) -> Elastic:
    return Elastic(
        ParameterVector.bind(model or small_model()),
        LocalLink(hub),
        ElasticOptions(algorithm=algorithm, period=period, ledger_seed=1),
        Recorder(),
    )


def train(
    session: Session, *, lr: float = 0.05, momentum: float = 0.0, steps: int = 1000
) -> Tensor:
    """A hand-written loop; returns where the worker ended."""
    model = small_model()
    step = Nesterov(model.parameters(), lr=lr, momentum=momentum)
    elastic = session.elastic(model, step)
    for k, (inputs, targets) in enumerate(session.data(Points())):
        step.prepare()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        step.zero_grad()
        loss.backward()
        step.step()
        elastic.step(loss)
        if k + 1 == steps:
            break
    elastic.finish()
    return elastic.vector.flat.clone()


def test_the_first_worker_gives_the_center_and_later_ones_take_it_over() -> None:
    hub = make_hub(METHODS["easgd"])
    first = tie(hub, METHODS["easgd"], model=small_model(1))
    second = tie(hub, METHODS["easgd"], model=small_model(2))
    assert torch.equal(first.vector.flat, second.vector.flat)


@pytest.mark.parametrize("algorithm", ELASTIC, ids=lambda a: a.name)
def test_an_exchange_conserves_worker_plus_center(algorithm: Algorithm) -> None:
    hub = make_hub(algorithm)
    worker = tie(hub, algorithm)
    assert hub.vector is not None
    worker.vector.flat.add_(torch.randn_like(worker.vector.flat))
    before = worker.vector.flat.double() + hub.vector.double()
    worker.step()
    after = worker.vector.flat.double() + hub.vector.double()
    assert torch.allclose(before, after, atol=1e-6, rtol=0)
    assert hub.version.count == 1


@pytest.mark.parametrize("algorithm", ELASTIC, ids=lambda a: a.name)
def test_both_ends_move_by_the_difference_that_the_child_computed(algorithm: Algorithm) -> None:
    hub = make_hub(algorithm, fixed_rate=0.25)
    worker = tie(hub, algorithm)
    assert hub.vector is not None
    start = hub.vector.clone()
    worker.vector.flat.add_(4.0)
    worker.step()
    assert torch.allclose(worker.vector.flat, start + 3.0)
    assert torch.allclose(hub.vector, start + 1.0)


def test_at_snapshot_takes_the_gradient_before_the_pull_is_felt() -> None:
    """Algorithm 1: x <- x - eta g(x) - alpha (x - c), both at the same x."""
    algorithm = METHODS["easgd"]
    hub = make_hub(algorithm, fixed_rate=0.25)
    worker = Elastic(
        ParameterVector.bind(small_model()),
        LocalLink(hub),
        ElasticOptions(algorithm=algorithm, period=1, order="at_snapshot"),
        Recorder(),
    )
    assert hub.vector is not None
    start = hub.vector.clone()
    worker.vector.flat.add_(4.0)
    worker.step()
    assert torch.allclose(worker.vector.flat, start + 4.0), "the gradient is taken here"
    assert torch.allclose(hub.vector, start + 1.0), "the center has the difference already"
    worker._due = 99
    worker.step()
    assert torch.allclose(worker.vector.flat, start + 3.0)


@pytest.mark.parametrize("algorithm", BALANCED, ids=lambda a: a.name)
def test_the_ledger_balances_after_training(algorithm: Algorithm) -> None:
    hub = make_hub(algorithm)
    train(make_session(algorithm, hub), momentum=algorithm.momentum)
    error = hub.ledger_error()
    assert hub.version.count > 5
    assert error is not None
    assert error < 1e-5


@pytest.mark.parametrize("algorithm", ALL, ids=lambda a: a.name)
def test_every_sample_is_booked_once(algorithm: Algorithm) -> None:
    hub = make_hub(algorithm)
    train(make_session(algorithm, hub, total=64 * 3 + 20))
    assert hub.progress.num_distinct == 64 * 3 + 20
    assert hub.progress.num_repeated == 0


@pytest.mark.parametrize("algorithm", ELASTIC, ids=lambda a: a.name)
def test_with_moving_rate_zero_a_worker_is_plain_sgd(algorithm: Algorithm) -> None:
    tied = train(make_session(algorithm, make_hub(algorithm, fixed_rate=0.0)))
    free = train(make_session(METHODS["sgd"], make_hub(METHODS["sgd"])))
    assert torch.equal(tied, free)


def test_with_momentum_zero_eamsgd_is_easgd_to_the_bit() -> None:
    eamsgd, easgd = METHODS["eamsgd"], METHODS["easgd"]
    one = train(make_session(eamsgd, make_hub(eamsgd)), momentum=0.0)
    other = train(make_session(easgd, make_hub(easgd)))
    assert torch.equal(one, other)


def test_downpour_with_one_worker_is_sgd() -> None:
    """Alone, the center after the add is the worker itself (thesis.md E, test iv)."""
    hub = make_hub(METHODS["downpour"])
    alone = train(make_session(METHODS["downpour"], hub, period=1))
    free = train(make_session(METHODS["sgd"], make_hub(METHODS["sgd"])))
    assert torch.allclose(alone, free, atol=1e-5)
    assert hub.vector is not None
    assert torch.allclose(hub.vector, alone, atol=1e-5)


def test_the_center_of_a_sequential_run_is_its_worker() -> None:
    hub = make_hub(METHODS["msgd"])
    end = train(make_session(METHODS["msgd"], hub), momentum=0.9)
    assert hub.vector is not None
    assert torch.allclose(hub.vector, end, atol=1e-5)


def test_count_counts_its_pushes_exactly() -> None:
    hub = make_hub(count(0))
    children = [tie(hub, count(k)) for k in range(3)]
    for k, child in enumerate(children):
        child.vector.flat.zero_()
        for _ in range(10 * (k + 1)):
            child.step()
    assert hub.vector is not None
    start = small_model()
    counted = (hub.vector - ParameterVector.bind(start).flat).round().int().tolist()
    assert counted[:3] == [10, 20, 30]


def test_a_worker_with_nan_starts_again_from_the_center_and_sends_nothing() -> None:
    hub = make_hub(METHODS["eamsgd"])
    model = small_model()
    step = Nesterov(model.parameters(), lr=0.1, momentum=0.9)
    recorder = Recorder()
    worker = Elastic(
        ParameterVector.bind(model),
        LocalLink(hub),
        ElasticOptions(algorithm=METHODS["eamsgd"], period=1),
        recorder,
        local_step=step,
    )
    step.velocity[0].fill_(float("nan"))
    worker.vector.flat[3] = float("nan")
    worker.step()
    assert recorder.events == ["not_finite"]
    assert hub.vector is not None
    assert hub.version.count == 0
    assert torch.equal(worker.vector.flat, hub.vector)
    assert all(bool((v == 0).all()) for v in step.velocity)


@pytest.mark.parametrize("algorithm", ALL, ids=lambda a: a.name)
def test_data_whose_steps_were_dropped_is_handed_out_again(algorithm: Algorithm) -> None:
    hub = make_hub(algorithm)
    active = make_session(algorithm, hub, period=4, total=256)
    elastic = active.elastic(small_model())
    for k, _ in enumerate(active.data(Points())):
        if k == 9:
            elastic.vector.flat.fill_(float("nan"))
        elastic.step()
    elastic.finish()
    assert elastic.counts.restarts == 1
    assert hub.progress.num_distinct == 256, "nothing was skipped in silence"
    assert hub.steps < elastic.clock, "dropped steps are not counted"
    assert torch.isfinite(elastic.vector.flat).all()


def test_a_nan_loss_alone_also_starts_a_worker_again() -> None:
    hub = make_hub(METHODS["easgd"])
    worker = tie(hub, METHODS["easgd"])
    worker.vector.flat.add_(1.0)
    worker.step(torch.tensor(float("nan")))
    assert hub.version.count == 0
    assert worker.counts.restarts == 1
    worker.step(torch.tensor(1.0))
    assert hub.version.count == 1


def test_a_worker_that_never_recovers_ends_the_run_with_its_name() -> None:
    worker = tie(make_hub(METHODS["easgd"]), METHODS["easgd"])

    def diverge() -> None:
        while True:
            worker.vector.flat.fill_(float("inf"))
            worker.step()

    with pytest.raises(Diverged, match=r"worker met .* Lower optimizer\.lr"):
        diverge()


def test_a_worker_taken_for_dead_joins_again_and_says_what_is_lost() -> None:
    hub = make_hub(METHODS["easgd"])
    worker = tie(hub, METHODS["easgd"])
    hub.dismiss(worker.incarnation)
    worker.vector.flat.add_(1.0)
    worker.step()
    worker.step()
    assert hub.refused == 1
    assert worker.incarnation == 2
    worker.step()
    assert hub.version.count >= 1


def test_exchanges_happen_every_period_steps() -> None:
    hub = make_hub(METHODS["easgd"])
    worker = tie(hub, METHODS["easgd"], period=5)
    counts = []
    for _ in range(15):
        worker.step()
        counts.append(hub.version.count)
    assert counts == [0] * 4 + [1] * 5 + [2] * 5 + [3]


def test_a_loop_without_end_is_unwound_when_the_run_is_over() -> None:
    session = make_session(METHODS["easgd"], make_hub(METHODS["easgd"]))
    elastic = session.elastic(small_model())
    elastic.step()
    session.ended.set()
    with pytest.raises(RunEnded):
        elastic.step()


def test_data_ends_when_the_run_is_over() -> None:
    session = make_session(METHODS["easgd"], make_hub(METHODS["easgd"]))
    batches = session.data(Points())
    next(batches)
    session.ended.set()
    assert list(batches) == []
