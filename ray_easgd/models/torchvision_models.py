"""Any of torchvision's classification networks, by its name there."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ray_easgd.data import DataSpec
from ray_easgd.errors import BadModel
from ray_easgd.models.fit import image_shape

# In training these return several outputs unless told otherwise.
_PLAIN: dict[str, Any] = {"aux_logits": False, "init_weights": True}
_OPTIONS = {"googlenet": _PLAIN, "inception_v3": _PLAIN}


def torchvision_names() -> list[str]:
    from torchvision import models

    return [str(name) for name in models.list_models(module=models)]


def torchvision_model(name: str, spec: DataSpec) -> nn.Module:
    """The network without pretrained weights, tried once on zeros of the data's shape."""
    from torchvision import models

    channels, height, width = image_shape(name, spec)
    if channels != 3:
        problem = f"torchvision's networks take RGB, and the data has {channels} channel(s)"
        raise BadModel("model", name, problem, "Use small_cnn, or RGB images.")
    options = _OPTIONS.get(name, {})
    if name.startswith("vit_"):
        options = {"image_size": height}
    try:
        model: nn.Module = models.get_model(
            name, weights=None, num_classes=spec.num_classes, **options
        )
        _try(model, (1, channels, height, width))
    except (RuntimeError, ValueError, AssertionError) as error:
        problem = f"it does not take images of {height} x {width} ({error})"
        raise BadModel("model", name, problem, "Use larger images, or small_cnn.") from error
    return model


def _try(model: nn.Module, shape: tuple[int, ...]) -> None:
    model.eval()  # batch norm must not learn from the zeros
    with torch.no_grad():
        model(torch.zeros(shape))
    model.train()
