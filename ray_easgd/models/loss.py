"""What training minimises and what is counted as right."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from ray_easgd.data import DataSpec


def loss_function(spec: DataSpec) -> Callable[[Tensor, Tensor], Tensor]:
    """Mean cross entropy over samples; over all tokens of all samples for text."""
    return _token_loss if spec.kind == "text" else _sample_loss


def count_correct(outputs: Tensor, targets: Tensor) -> tuple[int, int]:
    """How many of the ``targets`` (samples, or tokens) have the largest output, and how many.

    Of real targets none is right: a loss is all there is to compare them by.
    """
    if targets.is_floating_point():
        return 0, len(targets)
    return int((outputs.argmax(-1) == targets).sum()), targets.numel()


def _sample_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets)


def _token_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())
