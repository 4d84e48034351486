"""Two small models for images, quick on one CPU thread."""

from __future__ import annotations

import math

from torch import nn

from ray_easgd.data import DataSpec
from ray_easgd.errors import BadModel
from ray_easgd.models.fit import image_shape


def mlp(spec: DataSpec) -> nn.Module:
    """Two hidden layers, 128 and 64 wide: 109,386 parameters on 28 x 28 and ten classes."""
    if spec.kind == "text":
        problem = "it takes numbers, and the data is text"
        raise BadModel("model", "mlp", problem, "Use small_gpt, or other data.")
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(spec.input_shape), 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, spec.num_classes),
    )


def small_cnn(spec: DataSpec) -> nn.Module:
    """Two convolutions with pooling and a hidden layer, for images of 8 x 8 to about 64 x 64.

    105,866 parameters on grey 28 x 28 and ten classes.
    """
    channels, height, width = image_shape("small_cnn", spec)
    if min(height, width) < 4:
        problem = f"it halves the image twice, and the data is {height} x {width}"
        raise BadModel("model", "small_cnn", problem, "Use mlp, or images of 4 x 4 or more.")
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), 64),
        nn.ReLU(),
        nn.Linear(64, spec.num_classes),
    )
