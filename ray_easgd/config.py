"""The configuration: every key a user may set, with its meaning, unit and range.

Read from YAML and from ``key=value`` words; unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ray_easgd.errors import BadConfig
from ray_easgd.schedules import Constant, Decay, Schedule, WarmupCosine

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A group of keys. Frozen, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class AlgorithmSection(Section):
    """Which method, and how it exchanges."""

    name: str = Field(default="eamsgd", description="a method; `ray-easgd methods` lists them")
    period: Count | None = Field(default=None, description="gradient steps between exchanges")
    beta: Positive = Field(
        default=0.9, description="a hub's whole moving rate, shared by its children"
    )
    moving_rate: Finite | None = Field(default=None, description="overrides beta; may be negative")
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None, description="the method's own (Nesterov) momentum"
    )
    order: Literal["between_steps", "at_snapshot"] = Field(
        default="between_steps", description="where in a step the exchange happens"
    )


class ScheduleSection(Section):
    """The learning rate over a worker's local clock."""

    name: Literal["constant", "decay", "cosine"] = "constant"
    rate: Annotated[float, Field(ge=0)] = Field(
        default=1e-4, description="decay: lr / (1 + rate t)^power"
    )
    power: Positive = 0.5
    warmup: Annotated[int, Field(ge=0)] = Field(
        default=0, description="cosine: steps of linear warm-up"
    )
    total: Count = Field(default=10_000, description="cosine: steps until the floor")
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0

    def build(self) -> Schedule:
        """The schedule as a function of the local clock."""
        if self.name == "decay":
            return Decay(self.rate, self.power)
        if self.name == "cosine":
            return WarmupCosine(self.warmup, self.total, self.floor)
        return Constant()


class OptimizerSection(Section):
    """The local step of each worker."""

    name: str | None = Field(
        default=None,
        description="`sgd`, `nesterov` (thesis-exact) or a torch.optim class; default: method",
    )
    lr: Positive | None = Field(default=None, description="learning rate; default: the method's")
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None, description="the optimizer's own momentum, where it has one"
    )
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: ScheduleSection = ScheduleSection()
    options: dict[str, Any] = Field(
        default_factory=dict, description="further arguments of a torch.optim class"
    )

    @field_validator("schedule", mode="before")
    @classmethod
    def _a_name_alone_is_enough(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class FleetSection(Section):
    """The workers."""

    workers: int | str | None = Field(
        default=None, description="a number or `min..max`; default 2 to 4"
    )
    gpus_per_worker: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="fractions allowed; default 1 where the cluster has GPUs, else 0"
    )
    cpus_per_worker: Annotated[float, Field(ge=0)] = 1.0

    @field_validator("workers")
    @classmethod
    def _is_a_number_or_a_range(cls, value: int | str | None) -> int | str | None:
        if value is not None:
            low, high = _range(value)
            if not 1 <= low <= high:
                raise ValueError("give a whole number above 0, or `min..max` with min <= max")
        return value

    @property
    def bounds(self) -> tuple[int, int] | None:
        """(fewest, most) workers, or None where the user leaves it to us."""
        return None if self.workers is None else _range(self.workers)


class ExchangeSection(Section):
    """How differences travel."""

    transport: Literal["auto", "object_store"] = "auto"
    format: Literal["float32"] = "float32"
    ledger: bool = Field(
        default=False, description="checksum every push (costs a pass over the vector at each end)"
    )


class CenterSection(Section):
    """The center."""

    average: Literal["none", "polyak", "moving"] | None = Field(
        default=None, description="an average of the center to test and keep; default: the method's"
    )
    average_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.001, description="weight of the newest center in a moving average"
    )


class StopSection(Section):
    """When a run ends: at the first of these that comes true."""

    samples: Count | None = Field(default=None, description="training samples, over all workers")
    seconds: Positive | None = Field(default=None, description="seconds of training")
    accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="validation accuracy of the center, 0 to 1"
    )


class EvaluationSection(Section):
    """The evaluator, which tests the center and makes no worker wait."""

    interval_s: Positive = Field(
        default=5.0, description="at least this many seconds between tests"
    )
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.2, description="at most this share of the time is spent testing"
    )


class RunSection(Section):
    """Where a run leaves its folder."""

    name: str | None = Field(default=None, description="fresh if absent")
    storage: str = Field(
        default="~/ray-easgd", description="a path, or a URI that pyarrow's fs knows"
    )

    @field_validator("name", mode="before")
    @classmethod
    def _a_number_is_a_name_too(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str | None) -> str | None:
        if value is not None and (not value or "/" in value or value.startswith(".")):
            raise ValueError("a run's name is a folder's name: no '/', no leading '.'")
        return value


class Config(Section):
    """A whole run."""

    algorithm: AlgorithmSection = AlgorithmSection()
    optimizer: OptimizerSection = OptimizerSection()
    fleet: FleetSection = FleetSection()
    exchange: ExchangeSection = ExchangeSection()
    center: CenterSection = CenterSection()
    stop: StopSection = StopSection()
    evaluation: EvaluationSection = EvaluationSection()
    run: RunSection = RunSection()
    batch_size: Count = Field(default=32, description="samples a worker takes a gradient over")
    data: str = Field(default="digits", description="a data set's name or path")
    model: str = Field(default="mlp", description="a model's name, or module:function")
    seed: Annotated[int, Field(ge=0)] = 0
    address: str | None = Field(default=None, description="a Ray cluster; absent: an embedded one")
    cache_limit_gb: Positive = Field(
        default=4.0, description="decoded images kept on disk up to this size"
    )

    @classmethod
    def build(cls, values: Mapping[str, Any]) -> Config:
        """A checked configuration; BadConfig names the first key that is wrong."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _explain(error, values) from None

    @classmethod
    def load(cls, path: str | None = None, words: Iterable[str] = ()) -> Config:
        """From a YAML file (or none) and ``key=value`` words, which win."""
        values = _read_yaml(path) if path else {}
        for word in words:
            _assign(values, word)
        return cls.build(values)

    def to_yaml(self) -> str:
        """All keys, defaults filled in; reading it back gives the same configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _range(value: int | str) -> tuple[int, int]:
    low, dots, high = str(value).partition("..")
    try:
        return int(low), int(high if dots else low)
    except ValueError:
        raise ValueError("give a whole number, or `min..max`") from None


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig("CONFIG", path, str(error.strerror), "Give a YAML file's path.") from None
    except yaml.YAMLError as error:
        raise BadConfig("CONFIG", path, f"it is not YAML ({error})", "Mend that line.") from None
    if not isinstance(values or {}, dict):
        raise BadConfig("CONFIG", path, "it holds no keys", "Write `key: value` lines.")
    return values or {}


def _assign(values: dict[str, Any], word: str) -> None:
    """Set ``a.b=value`` in nested ``values``."""
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise BadConfig("argument", word, "it is not key=value", "Example: fleet.workers=2.")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise BadConfig(key, text, f"{parent!r} is a value, not a group of keys", "Mend it.")
    try:
        values[last] = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        raise BadConfig(
            key, text, "it is not a YAML value", "Quote it, as in key='\"text\"'."
        ) from None


def _explain(error: ValidationError, values: Mapping[str, Any]) -> BadConfig:
    """The first complaint as one of ours: key path, value, problem, remedy."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key, value = ".".join(path), first.get("input")
    if first["type"] == "extra_forbidden":
        return BadConfig(key, value, "there is no such key", _nearest(key))
    message = first["msg"].removeprefix("Value error, ")
    return BadConfig(key or "configuration", value, message, _meaning(path))


def _nearest(key: str) -> str:
    known = list(known_keys())
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    near = near or [k for k in known if k.split(".")[-1] == key.split(".")[-1]][:1]
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."


def _meaning(path: list[str]) -> str:
    """What the key is for, as the remedy of a wrong value."""
    model: Any = Config
    description = None
    for part in path:
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            break
        description, model = fields[part].description, fields[part].annotation
    return f"It is: {description}." if description else "See `ray-easgd train --help`."


def known_keys() -> Iterable[str]:
    """Every key of a configuration, dotted."""
    return (key for key, _, _ in describe_keys(Config()))


def describe_keys(section: Section, prefix: str = "") -> Iterable[tuple[str, Any, str]]:
    """(dotted key, value in ``section``, meaning) of every key below it."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from describe_keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value, field.description or ""
