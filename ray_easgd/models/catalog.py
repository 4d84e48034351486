"""From the name a user types to the model."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isclass
from typing import Any

import torch
from torch import nn

from ray_easgd.data import DataSpec
from ray_easgd.data.named import load_function, name_of, suggest, suggest_function
from ray_easgd.errors import BadModel
from ray_easgd.models.gpt import small_gpt
from ray_easgd.models.small import mlp, small_cnn
from ray_easgd.models.thesis import CIFAR_CROP, IMAGENET_CROP, cifar_cnn, imagenet_cnn
from ray_easgd.users_code import blaming

MODELS = {
    "mlp": mlp,
    "small_cnn": small_cnn,
    "small_gpt": small_gpt,
    "cifar_cnn": cifar_cnn,
    "imagenet_cnn": imagenet_cnn,
}


def build_model(
    model: str | Callable[[DataSpec], nn.Module], spec: DataSpec, *, seed: int
) -> nn.Module:
    """Build a model on the CPU, in training mode: by name, or by a function of the spec.

    The same seed gives the same bits, and torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
        if isinstance(model, str):
            return _build(model, spec)
        return _call(name_of(model), model, spec)


def preferred_crop(name: str) -> int | None:
    """Side in pixels of the square images a model takes; None if it takes them as they are."""
    return {"cifar_cnn": CIFAR_CROP, "imagenet_cnn": IMAGENET_CROP}.get(name)


def _build(name: str, spec: DataSpec) -> nn.Module:
    if ":" in name:
        return _call(name, load_function(name, "model", BadModel), spec)
    if name not in MODELS:
        _check_torchvision_has(name)
    if spec.num_classes < 1:
        problem = "the data does not tell its number of classes"
        raise BadModel("model", name, problem, "Give the data set an attribute num_classes.")
    if name in MODELS:
        return MODELS[name](spec)
    from ray_easgd.models.torchvision_models import torchvision_model

    return torchvision_model(name, spec)


def _check_torchvision_has(name: str) -> None:
    from ray_easgd.models.torchvision_models import torchvision_names

    known = [*MODELS, *torchvision_names()]
    if name not in known:
        ours = ", ".join(MODELS)
        near = suggest(name, known) + suggest_function(name, "build")
        remedy = f"{near}Known: {ours}, torchvision's (resnet18), module:function."
        raise BadModel("model", name, "there is no such model", remedy)


def _call(name: str, function: Callable[[DataSpec], Any], spec: DataSpec) -> nn.Module:
    with blaming(BadModel, "model", name, "building it raised", _how_to_build(function, spec)):
        model = function(spec)
    if not isinstance(model, nn.Module):
        problem = f"it returned a {type(model).__name__}"
        raise BadModel("model", name, problem, "Take the DataSpec and return a torch.nn.Module.")
    return model


def _how_to_build(given: object, spec: DataSpec) -> str:
    what = "It is a class: give a function that makes one" if isclass(given) else "Build it"
    return f"{what} of the spec: {spec}."
