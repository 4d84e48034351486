"""Local steps: what a worker does with a gradient.

``Sgd`` and ``Nesterov`` are the thesis's own, exact; ``TorchStep`` carries any ``torch.optim``
optimizer; ``Clipped`` is any of them on clipped gradients. All act on a list of parameters in
place, whichever vector they are views into.
``torch.optim`` is never imported here: building one of its optimizers costs seconds of imports.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.optim import Optimizer


class LocalStep(Protocol):
    """A worker's step, in the two halves that surround the gradient."""

    def prepare(self) -> None:
        """Before the gradient is taken: Nesterov moves to the look-ahead point here."""
        ...

    def step(self) -> None:
        """Apply the gradient."""
        ...

    def zero_grad(self) -> None:
        """Forget the gradient."""
        ...

    def reset(self) -> None:
        """Forget momentum and moments: after a start from the center they mean nothing."""
        ...

    def set_lr(self, factor: float) -> None:
        """Set the learning rate to ``factor`` times its base."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Momentum and moments, for another process to go on with."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with another's."""
        ...


class Sgd:
    """``x <- x - lr (g + weight_decay x)`` (paper, algorithm 1)."""

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float, weight_decay: float = 0.0
    ) -> None:
        self.parameters = list(parameters)
        self.base_lr = self.lr = lr
        self.weight_decay = weight_decay

    def prepare(self) -> None:
        """Nothing: the gradient is taken at x itself."""

    @torch.no_grad()
    def step(self) -> None:
        x, g = self._pairs()
        torch._foreach_add_(x, g, alpha=-self.lr)

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def reset(self) -> None:
        """Nothing to forget."""

    def set_lr(self, factor: float) -> None:
        self.lr = factor * self.base_lr

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to go on with."""

    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        """Parameters that have a gradient, and their gradients with the L2 term."""
        pairs = [(p, p.grad) for p in self.parameters if p.grad is not None]
        x, g = [p for p, _ in pairs], [g for _, g in pairs]
        if self.weight_decay:
            g = list(torch._foreach_add(g, x, alpha=self.weight_decay))  # noqa: SLF001
        return x, g


class Nesterov(Sgd):
    """``v <- delta v - lr g(x + delta v); x <- x + v`` (paper, algorithm 2; mathematics.md, 2.3).

    In the order of the author's code: ``v *= delta; x += v``, gradient there, ``x -= lr g;
    v -= lr g``. With momentum 0 it is ``Sgd``, bit for bit.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        momentum: float,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)
        self.momentum = momentum
        self.velocity = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]

    @torch.no_grad()
    def prepare(self) -> None:
        if self.momentum:
            torch._foreach_mul_(self.velocity, self.momentum)
            torch._foreach_add_(self.parameters, self.velocity)

    @torch.no_grad()
    def step(self) -> None:
        x, g = self._pairs()
        torch._foreach_add_(x, g, alpha=-self.lr)
        if self.momentum:
            v = [
                v for v, p in zip(self.velocity, self.parameters, strict=True) if p.grad is not None
            ]
            torch._foreach_add_(v, g, alpha=-self.lr)

    def reset(self) -> None:
        torch._foreach_zero_(self.velocity)

    def state_dict(self) -> dict[str, Any]:
        return {"velocity": self.velocity}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for mine, other in zip(self.velocity, state["velocity"], strict=True):
            mine.copy_(other)


class TorchStep:
    """Any ``torch.optim`` optimizer as a local step."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]

    def prepare(self) -> None:
        """Nothing: torch's optimizers take the gradient where the parameters are."""

    def step(self) -> None:
        self.optimizer.step()

    def zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def reset(self) -> None:
        self.optimizer.state.clear()

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)

    def set_lr(self, factor: float) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = factor * base


class Clipped:
    """``g <- g min(1, clip_norm / |g|)`` before another step; ``|g|`` over all parameters."""

    def __init__(self, step: LocalStep, parameters: Iterable[Tensor], *, clip_norm: float) -> None:
        self._step, self._parameters, self.clip_norm = step, list(parameters), clip_norm
        self.prepare, self.zero_grad, self.reset = step.prepare, step.zero_grad, step.reset
        self.set_lr = step.set_lr
        self.state_dict, self.load_state_dict = step.state_dict, step.load_state_dict

    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._parameters, self.clip_norm)
        self._step.step()
