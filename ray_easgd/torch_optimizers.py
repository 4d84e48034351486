"""``torch.optim`` classes as local steps: which of them can work, with which arguments."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ray_easgd.errors import BadConfig

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from ray_easgd.sections import OptimizerSection

_CANNOT = {
    "Optimizer": "it is what the others are derived from",
    "LBFGS": "it evaluates the loss several times a step, and a worker takes one gradient",
    "SparseAdam": "it takes sparse gradients only, and a parameter vector is dense",
}
_KEYS = ("lr", "weight_decay", "momentum")  # of the configuration, each in one place only


def torch_optimizer(name: str) -> type[Optimizer]:
    """The class of that name; BadConfig where there is none, or it can be no local step."""
    import torch.optim  # seconds of imports, so only for those who ask for it

    known = {
        n: c
        for n, c in vars(torch.optim).items()
        if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer) and n not in _CANNOT
    }
    if name not in known:
        raise BadConfig(
            "optimizer.name",
            name,
            _CANNOT.get(name, "torch.optim has no such optimizer"),
            f"Take sgd, nesterov, or one of {', '.join(sorted(known))}.",
        )
    return known[name]


def build(
    name: str, parameters: Sequence[Tensor], section: OptimizerSection, *, lr: float
) -> Optimizer:
    """An optimizer of that name; what its class refuses is told as BadConfig."""
    kind, arguments = torch_optimizer(name), _arguments(name, section, lr)
    try:
        return kind(parameters, **arguments)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:  # as torch checks them
        field, value = ("options", section.options) if section.options else ("name", name)
        raise BadConfig(
            f"optimizer.{field}",
            value,
            f"torch.optim.{name} does not take it ({error})",
            f"See torch's documentation of {name} for what its arguments may be.",
        ) from None


def _arguments(name: str, section: OptimizerSection, lr: float) -> dict[str, Any]:
    """Keyword arguments, those that the class does not know refused by name."""
    for key in _KEYS:
        if key in section.options:
            raise BadConfig(
                f"optimizer.options.{key}",
                section.options[key],
                "it has a key of its own",
                f"Set optimizer.{key}={section.options[key]} instead.",
            )
    own = {"lr": lr, "weight_decay": section.weight_decay, "momentum": section.momentum}
    given = {k: v for k, v in own.items() if v is not None}
    known = list(inspect.signature(torch_optimizer(name)).parameters)[1:]  # without `params`
    if not section.weight_decay and "weight_decay" not in known:
        given.pop("weight_decay", None)  # none of what it has not
    for key, value in (given | section.options).items():
        if key not in known:
            path = f"options.{key}" if key in section.options else key
            raise BadConfig(
                f"optimizer.{path}",
                value,
                f"{name} has no such argument",
                f"Leave it away; it has {', '.join(known)}.",
            )
    return given | section.options
