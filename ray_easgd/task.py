"""A task: what is to be learned. Model, loss and data, each a name or the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ray_easgd.config import Config
from ray_easgd.data import DataSets, open_data
from ray_easgd.data.named import name_of
from ray_easgd.errors import BadConfig, BadData, BadModel
from ray_easgd.models import build_model, count_correct, loss_function, preferred_crop

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the built-in loop trains.

    ``data``: a name as for the configuration's key ``data``, or a function without arguments that
    returns (train, test), each a map-style dataset. ``model``: a name as for the key ``model``, or
    a function from the data's ``DataSpec`` to a module. What is None comes from the configuration.
    ``loss``: cross entropy if absent.
    """

    model: str | Callable[[Any], nn.Module] | None = None
    data: str | Callable[[], Any] | None = None
    loss: Loss | None = None

    def __post_init__(self) -> None:
        """BadModel or BadData for what is neither a name nor a function."""
        example = "Give a name, or a function that {}: each worker calls it for itself."
        if isinstance(self.model, nn.Module) or not _is_name_or_function(self.model):
            remedy = example.format("builds it from the DataSpec")
            raise BadModel("model", self.model, _cannot_be(self.model), remedy)
        if not _is_name_or_function(self.data):
            remedy = example.format("returns (train, test)")
            raise BadData("data", self.data, _cannot_be(self.data), remedy)
        if self.loss is not None and not callable(self.loss):
            remedy = "Give a function of outputs and targets, as torch.nn.functional.cross_entropy."
            raise BadConfig("loss", self.loss, _cannot_be(self.loss), remedy)

    def filled(self, config: Config) -> Task:
        """With ``config.model`` and ``config.data`` where it says nothing itself."""
        return replace(self, model=self.model or config.model, data=self.data or config.data)

    def names(self) -> dict[str, str]:
        """Its model and data as configuration keys; functions as ``module:function``."""
        return {"model": _name(self.model), "data": _name(self.data)}

    def open(self, config: Config) -> OpenTask:
        """The task with its data at hand; the same in every process for one seed.

        The first to open a data set on a node decodes it once into that node's cache.
        """
        task = self.filled(config)
        assert task.data is not None
        sets = open_data(
            task.data,
            seed=config.seed,
            crop=preferred_crop(task.model) if isinstance(task.model, str) else None,
            cache_limit_bytes=int(config.cache_limit_gb * 2**30),
        )
        return OpenTask(task, sets, config.seed)


@dataclass(frozen=True)
class OpenTask:
    """A task whose data has been opened."""

    task: Task
    data: DataSets
    seed: int

    def build_model(self) -> nn.Module:
        """The model, with the seed's own initial parameters."""
        assert self.task.model is not None
        return build_model(self.task.model, self.data.spec, seed=self.seed)

    @property
    def loss(self) -> Loss:
        """Mean loss of a batch."""
        return self.task.loss or loss_function(self.data.spec)

    def correct(self, outputs: Tensor, targets: Tensor) -> tuple[int, int]:
        """(right, all) predictions of a batch."""
        return count_correct(outputs, targets)


def _is_name_or_function(part: object) -> bool:
    return part is None or isinstance(part, str) or callable(part)


def _cannot_be(part: object) -> str:
    return f"it cannot be of type {type(part).__name__}"


def _name(part: str | Callable[..., Any] | None) -> str:
    assert part is not None, "call filled() first"
    return part if isinstance(part, str) else name_of(part)
