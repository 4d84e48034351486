"""The built-in training loop: a user's own loop that we happen to have written."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from ray_easgd import torch_optimizers
from ray_easgd.algorithms import (
    Algorithm,
    Clipped,
    LocalStep,
    Nesterov,
    Sgd,
    TorchStep,
    find_method,
)
from ray_easgd.config import Config
from ray_easgd.errors import BadConfig
from ray_easgd.recipe import algorithm_of, average_of, order_of
from ray_easgd.session import Session
from ray_easgd.task import Loss, OpenTask


def train_task(session: Session, task: OpenTask, config: Config) -> None:
    """Train until the session's data ends. Exchanges happen at the step boundaries."""
    model = task.build_model().to(session.device)
    step = make_local_step((p for p in model.parameters() if p.requires_grad), config)
    elastic = session.elastic(model, step)
    schedule, loss_of = config.optimizer.schedule.build(), task.loss
    model.train()
    for inputs, targets in session.data(task.data.train, batch_size=config.batch_size):
        step.set_lr(schedule(elastic.schedule_clock))
        elastic.step(take_step(model, step, loss_of, inputs, targets))


def take_step(
    model: nn.Module, step: LocalStep, loss_of: Loss, inputs: Tensor, targets: Tensor
) -> Tensor:
    """One gradient step on a batch; returns its mean loss."""
    step.prepare()
    loss = loss_of(model(inputs), targets)
    step.zero_grad()
    loss.backward()
    step.step()
    return loss


def make_local_step(parameters: Iterable[Tensor], config: Config) -> LocalStep:
    """The local step that ``optimizer`` and the method ask for."""
    parameters, clip_norm = list(parameters), config.optimizer.clip_norm
    step = _plain_step(parameters, config)
    return step if clip_norm is None else Clipped(step, parameters, clip_norm=clip_norm)


def _plain_step(parameters: list[Tensor], config: Config) -> LocalStep:
    method, section = find_method(config.algorithm.name), config.optimizer
    name, lr = local_step_name(config), section.lr or method.lr
    decay = section.weight_decay or 0.0
    if name == "sgd" and not section.momentum:
        return Sgd(parameters, lr=lr, weight_decay=decay)
    if name == "nesterov":
        momentum = _nesterov_momentum(method, config)
        return Nesterov(parameters, lr=lr, momentum=momentum, weight_decay=decay)
    return TorchStep(torch_optimizers.build(name, parameters, section, lr=lr))


def resolve(config: Config) -> Config:
    """The configuration with the method's own defaults filled in, so that it says what it ran."""
    method = find_method(config.algorithm.name)
    optimizer = config.optimizer.model_copy(
        update={"name": local_step_name(config), "lr": config.optimizer.lr or method.lr}
    )
    momentum = config.algorithm.momentum
    if momentum is None and method.momentum:
        own = method.local_step == "nesterov"
        momentum = _nesterov_momentum(method, config) if own else method.momentum
    config = resolve_exchange(config)
    algorithm = config.algorithm.model_copy(update={"momentum": momentum})
    return config.model_copy(update={"algorithm": algorithm, "optimizer": optimizer})


def resolve_exchange(config: Config) -> Config:
    """The part that a user's own loop shares: the method's period, order and rate."""
    method = algorithm_of(config)
    period = None if config.topology.levels else config.algorithm.period or method.period
    update = {
        "period": period,
        "order": order_of(config, method),
        "beta": config.algorithm.beta or method.beta,
    }
    algorithm = config.algorithm.model_copy(update=update)
    center = config.center.model_copy(update={"average": average_of(config, method)})
    return config.model_copy(update={"algorithm": algorithm, "center": center})


def local_step_name(config: Config) -> str:
    """The name of the local step, or BadConfig where method and optimizer contradict."""
    method, section = find_method(config.algorithm.name), config.optimizer
    name = section.name or method.local_step
    if method.fixed_local_step and name != method.local_step:
        raise BadConfig(
            "optimizer.name",
            name,
            f"{method.name} is defined by its own {method.local_step} step",
            f"Leave optimizer.name away, or take algorithm.name={_free(method)}.",
        )
    if name == "sgd" and section.momentum:
        return "SGD"  # torch's, which has a momentum; the thesis-exact step has none
    if name not in ("sgd", "nesterov"):
        torch_optimizers.torch_optimizer(name)
    elif section.options:
        raise BadConfig(
            "optimizer.options",
            section.options,
            f"the built-in {name} step takes none",
            f"Leave them away, or {_with_torch(method)}.",
        )
    return name


def _with_torch(method: Algorithm) -> str:
    own = "set optimizer.name=SGD, torch's, or another class of torch.optim"
    return f"take algorithm.name={_free(method)} and {own}" if method.fixed_local_step else own


def _free(method: Algorithm) -> str:
    return "sgd" if method.sequential else "easgd"


def _nesterov_momentum(method: Algorithm, config: Config) -> float:
    """Of the local step: the method's own where it has one, the optimizer's elsewhere."""
    own = method.local_step == "nesterov"
    given = (config.algorithm.momentum if own else None, config.optimizer.momentum)
    return next((m for m in given if m is not None), (own and method.momentum) or 0.9)
