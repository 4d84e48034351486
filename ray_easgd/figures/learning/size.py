"""How large the study of real networks is: data, network, steps, tries, seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ray_easgd.data import DataSpec

_SIDE = 4
_STEPS_OF_THE_PAPER = 280_000  # figure 9: 127 minutes of 400 mini-batches in 11 seconds


class PatchNet(nn.Module):
    """A convolution of 4 x 4 pixels and stride 4, then two linear layers: quick on one core.

    25,722 parameters on 28 x 28 grey images and ten classes, 33,914 on 32 x 32 in color. As the
    patches do not overlap, the convolution is a linear layer on each of them.
    """

    def __init__(self, spec: DataSpec, channels: int = 16, hidden: int = 32) -> None:
        super().__init__()
        colors, height, width = spec.input_shape
        places = (height // _SIDE) * (width // _SIDE)
        self.patch = nn.Linear(colors * _SIDE * _SIDE, channels)
        self.hidden = nn.Linear(channels * places, hidden)
        self.out = nn.Linear(hidden, spec.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(B, C, H, W)``, H and W multiples of 4, to logits."""
        count, colors, height, width = images.shape
        grid = images.view(count, colors, height // _SIDE, _SIDE, width // _SIDE, _SIDE)
        patches = grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        seen = torch.relu(self.patch(patches)).flatten(1)
        logits: Tensor = self.out(torch.relu(self.hidden(seen)))
        return logits


@dataclass(frozen=True, kw_only=True)
class Size:
    """A worker's run is ``steps`` gradient steps, or ``long_steps`` where periods are long.

    ``grid`` are the learning rates that each method tries, in units of its own (``Contestant``).
    ``train``, ``validation`` and ``test`` are numbers of samples, None all: the training samples
    then are augmented, else they are held in memory as they are. The schedule of ``L9`` ends at
    the factor at which the paper's ended.
    """

    data: tuple[str, ...] = ("fashion_mnist", "cifar10")
    models: tuple[str | Callable[[DataSpec], nn.Module], ...] = (PatchNet, PatchNet)
    train: int | None = 10_000
    validation: int | None = 1_000
    test: int | None = 2_500
    batch_size: int = 16
    steps: int = 400
    long_steps: int = 2_000
    looks: int = 10
    seeds: tuple[int, ...] = (0, 1, 2)
    grid: tuple[float, ...] = (0.05, 0.15, 0.45)
    workers: tuple[int, ...] = (4, 8, 16)
    period: int = 10
    periods: tuple[int, ...] = (1, 4, 16, 64)
    long_periods: tuple[int, ...] = (10, 100, 1000)

    @property
    def decay(self) -> float:
        """The rate of ``(1 + rate t)^(-1/2)``: the paper's 1e-4, for a run of this length."""
        return 1e-4 * _STEPS_OF_THE_PAPER / self.long_steps

    def model_of(self, data: str) -> str | Callable[[DataSpec], nn.Module]:
        """The network for a data set."""
        return self.models[self.data.index(data)]

    def only(self, chosen: tuple[str, ...]) -> Size:
        """The same on some of the data sets."""
        models = tuple(self.model_of(data) for data in chosen)
        return replace(self, data=chosen, models=models)


SIZES = {
    "small": Size(),
    "full": Size(
        models=("small_cnn", "cifar_cnn"),
        train=None,
        validation=None,
        test=None,
        batch_size=128,
        steps=20_000,
        long_steps=100_000,
        looks=50,
    ),
}
"""``small`` is the one that docs/figures.md shows. ``full`` is the paper's networks and batches."""
