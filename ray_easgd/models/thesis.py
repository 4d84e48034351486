"""The two convolutional networks of the thesis (docs/mathematics.md, 5.3).

The thesis gives channels and sides; the kernels below are the ones these imply. A line of a
network reads ``(channels, side)`` after it. Weights keep PyTorch's default, uniform in
``±1/sqrt(fan-in)``, which was Torch7's as well.
"""

from __future__ import annotations

from torch import nn

from ray_easgd.data import DataSpec
from ray_easgd.models.fit import image_shape

CIFAR_CROP = 28
IMAGENET_CROP = 221


def cifar_cnn(spec: DataSpec) -> nn.Module:
    """CIFAR-10's 7 layers; 351,946 parameters for RGB and ten classes, biases 0."""
    channels, _, _ = image_shape("cifar_cnn", spec, CIFAR_CROP)
    model = nn.Sequential(
        *_conv(channels, 64, 5),  # (64, 24)
        nn.MaxPool2d(2),  # (64, 12)
        *_conv(64, 128, 5),  # (128, 8)
        nn.MaxPool2d(2),  # (128, 4)
        *_conv(128, 64, 3),  # (64, 2)
        nn.Flatten(),
        *_dense(64 * 2 * 2, 256),
        nn.Linear(256, spec.num_classes),
    )
    _fill_biases(model, 0.0)
    return model


def imagenet_cnn(spec: DataSpec) -> nn.Module:
    """ImageNet's 11 layers; 61,128,808 parameters for RGB and 1,000 classes, biases 0.1."""
    channels, _, _ = image_shape("imagenet_cnn", spec, IMAGENET_CROP)
    model = nn.Sequential(
        *_conv(channels, 96, 7, stride=2),  # (96, 108)
        nn.MaxPool2d(3),  # (96, 36)
        *_conv(96, 256, 5),  # (256, 32)
        nn.MaxPool2d(2),  # (256, 16)
        *_conv(256, 384, 3),  # (384, 14)
        *_conv(384, 384, 2),  # (384, 13)
        *_conv(384, 256, 2),  # (256, 12)
        nn.MaxPool2d(2),  # (256, 6)
        nn.Flatten(),
        *_dense(256 * 6 * 6, 4096),
        *_dense(4096, 4096),
        nn.Linear(4096, spec.num_classes),
    )
    _fill_biases(model, 0.1)
    return model


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """C of the thesis: a convolution without padding, and a ReLU."""
    return nn.Conv2d(inputs, outputs, kernel, stride), nn.ReLU()


def _dense(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """D of the thesis: linear, here with a ReLU, and dropout of one half."""
    return nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(0.5)


def _fill_biases(model: nn.Module, value: float) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.constant_(parameter, value)
