"""The groups of keys of a configuration: each with its meaning, unit and range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ray_easgd.protocol import WireFormat
from ray_easgd.schedules import Constant, Decay, Schedule, WarmupCosine

# The bounds are far above what anybody needs, and below what a float32, a timer or torch can hold.
Finite = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**15)]
Few = Annotated[int, Field(ge=1, le=10_000)]
MOST_WORKERS = 10_000
Scheme = Literal[
    "jacobi", "gauss_seidel_center_first", "gauss_seidel_worker_first", "full_gauss_seidel"
]


class Section(BaseModel):
    """A group of keys. Frozen, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class AlgorithmSection(Section):
    """Which method, and how it exchanges."""

    name: str = Field(default="eamsgd", description="a method; `ray-easgd methods` lists them")
    period: Count | None = Field(default=None, description="gradient steps between exchanges")
    beta: Positive | None = Field(
        default=None,
        description="a hub's whole moving rate, shared by its children; default: 0.9 for most",
    )
    moving_rate: Finite | None = Field(default=None, description="overrides beta; may be negative")
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        default=None, description="the method's own (Nesterov) momentum"
    )
    order: Literal["between_steps", "at_snapshot"] | None = Field(
        default=None, description="where in a step the exchange happens; default: the method's"
    )
    scheme: Scheme | None = Field(
        default=None, description="two_rate, gauss_seidel: the order of the two updates"
    )
    center_rate: Finite | None = Field(
        default=None, description="two_rate, gauss_seidel: the center's rate per worker"
    )
    outer_lr: Positive | None = Field(
        default=None, description="diloco, diloco_async: the outer learning rate"
    )
    as_printed: bool | None = Field(
        default=None, description="mdownpour: the center step as the paper prints it"
    )
    staleness_power: NotNegative = Field(
        default=0.0, description="weigh each push by 1 / (1 + staleness)^power; 0: all alike"
    )
    target_distance: Positive | None = Field(
        default=None, description="adapt each worker's period to this mean distance to its hub"
    )
    target_share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="adapt each worker's period to this share of time in exchanges"
    )


class ScheduleSection(Section):
    """The learning rate over a worker's local clock."""

    name: Literal["constant", "decay", "cosine"] = Field(
        default="constant", description="what lr is multiplied by, step by step"
    )
    rate: NotNegative = Field(default=1e-4, description="decay: lr / (1 + rate t)^power")
    power: Positive = Field(default=0.5, description="decay: lr / (1 + rate t)^power")
    warmup: Annotated[int, Field(ge=0)] = Field(
        default=0, description="cosine: steps of linear warm-up"
    )
    total: Count = Field(default=10_000, description="cosine: steps until the floor")
    floor: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="cosine: what it ends at, as a share of lr"
    )

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
    weight_decay: NotNegative | None = Field(
        default=None,
        description="default: the optimizer's own, as 0.01 of AdamW and 0 of sgd and nesterov",
    )
    clip_norm: Positive | None = Field(
        default=None,
        description="scale the gradients down to this total norm where it is above; default: never",
    )
    schedule: ScheduleSection = ScheduleSection()
    options: dict[str, Any] = Field(
        default_factory=dict, description="further arguments of a torch.optim class"
    )

    @field_validator("options")
    @classmethod
    def _numbers_are_numbers(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {key: _as_number(one) for key, one in value.items()}

    @field_validator("schedule", mode="before")
    @classmethod
    def _a_name_alone_is_enough(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class FleetSection(Section):
    """The workers."""

    workers: int | str | None = Field(
        default=None,
        description="a number, or `min..max`: as many as there is room for, now or later; "
        "default as many as there is room for, at most 4",
    )
    spares: Annotated[int, Field(ge=0, le=MOST_WORKERS)] | None = Field(
        default=None,
        description="warm processes that replace lost workers at once, each with a worker's GPUs; "
        "default 1 on a cluster that was there and without GPUs, else 0",
    )
    gpus_per_worker: NotNegative | None = Field(
        default=None, description="fractions allowed; default 1 where the cluster has GPUs, else 0"
    )
    cpus_per_worker: NotNegative = Field(default=1.0, description="fractions allowed")
    max_staleness: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="a push from a center older than so many versions is taken back, and made "
        "again from a new one",
    )
    steps_per_s: Positive | None = Field(
        default=None, description="hold each worker to so many steps a second, for a trial"
    )
    price_per_hour: NotNegative | None = Field(
        default=None, description="what a worker costs an hour, for the estimate among the metrics"
    )

    @field_validator("workers")
    @classmethod
    def _is_a_number_or_a_range(cls, value: int | str | None) -> int | str | None:
        if value is not None:
            low, high = _range(value)
            if not 1 <= low <= high <= MOST_WORKERS:
                raise ValueError(
                    "give a whole number above 0, or `min..max` with min <= max, "
                    f"{MOST_WORKERS} at most"
                )
        return value

    @property
    def bounds(self) -> tuple[int, int] | None:
        """(fewest, most) workers, or None where the user leaves it to us."""
        return None if self.workers is None else _range(self.workers)


class ExchangeSection(Section):
    """How differences travel."""

    transport: Literal["auto", "shared_memory", "object_store"] = Field(
        default="auto", description="auto: shared memory where a worker is on its hub's node"
    )
    format: WireFormat = Field(
        default="float32", description="of vectors between nodes; bfloat16 halves, int8 quarters"
    )
    fragments: Few = Field(
        default=1, description="exchange the vector in so many slices, one after the other"
    )
    ledger: bool = Field(
        default=False, description="checksum every push (costs a pass over the vector at each end)"
    )


class CenterSection(Section):
    """The center."""

    shards: Few = Field(
        default=1, description="split the center over so many processes, on different nodes"
    )
    average: Literal["none", "polyak", "moving"] | None = Field(
        default=None, description="an average of the center to test and keep; default: the method's"
    )
    average_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.001, description="weight of the newest center in a moving average"
    )


class LevelSection(Section):
    """One level of a tree: a hub's children, and how often they meet it."""

    fan_out: Few = Field(description="children of each hub")
    period: Count | None = Field(
        default=None, description="the children's clock between exchanges (workers: steps)"
    )
    period_up: Count | None = Field(default=None, description="messages: towards the parent")
    period_down: Count | None = Field(default=None, description="messages: towards the children")
    moving_rate: Positive | None = Field(default=None, description="default: the hub's own rule")
    format: WireFormat | None = Field(default=None, description="default: exchange.format")
    placement: str = Field(
        default="free",
        description="where the children are, if hubs: node (one on each), free, or a Ray label key",
    )

    @property
    def up(self) -> int | None:
        """Of the children's clock, between what they send to their hub."""
        return self.period_up or self.period

    @property
    def down(self) -> int | None:
        """Of the children's clock, between the one-way messages of their hub."""
        return self.period_down or self.period


def _levels_of_groups(groups: Mapping[Any, Any]) -> list[dict[str, int]]:
    """Levels of such a mapping as torch's HierarchicalModelAverager takes.

    There each period counts gradient steps, and each size all workers of a group. An aggregator
    counts the exchanges it has served instead: one of each child every period of theirs.
    """
    try:
        pairs = [(int(period), int(size)) for period, size in groups.items()]
    except (TypeError, ValueError):
        raise ValueError("give whole numbers, period in steps: size of a group") from None
    levels: list[dict[str, int]] = []
    steps, members, children = 1, 1, 1
    for period, size in pairs:
        if min(period, size) < 1 or (levels and period <= steps) or size % members:
            raise ValueError(
                f"{{{period}: {size}}} does not go above {{{steps}: {members}}}: periods grow "
                "upwards, and each group is made of whole ones"
            )
        levels.append({"fan_out": size // members, "period": max(1, period * children // steps)})
        steps, members, children = period, size, size // members
    return levels[::-1]


class TopologySection(Section):
    """A tree of hubs; without levels one center."""

    levels: tuple[LevelSection, ...] = Field(
        default=(),
        description="root first: [{fan_out: 2, period: 32}, {fan_out: 4, period: 4}]; or an "
        "ordered mapping of period in steps to group size, leaves first: {4: 4, 32: 8}",
    )
    scheme: Literal["elastic", "messages"] = Field(
        default="elastic", description="exchanges, or one-way messages with a moving average"
    )

    @field_validator("levels", mode="before")
    @classmethod
    def _groups_are_levels_too(cls, value: Any) -> Any:
        return _levels_of_groups(value) if isinstance(value, Mapping) else value


class FaultSection(Section):
    """Something that happens to a simulated fleet."""

    at_s: Delay = Field(description="virtual seconds")
    kind: Literal["crash", "stop", "join", "leave", "hub_loss"] = Field(description="what happens")
    worker: Annotated[int, Field(ge=0)] = Field(default=0, description="which, by its birth")
    seconds: Seconds = Field(default=1.0, description="stop, hub_loss: for how long")


class SimulatorSection(Section):
    """The virtual cluster of `ray-easgd simulate`; `train` does not read it."""

    problem: Literal["task", "quadratic", "gamma_quadratic", "double_well"] = Field(
        default="task", description="`task` is the data and model of this configuration"
    )
    h: Positive = Field(default=1.0, description="quadratic: the curvature")
    sigma: NotNegative = Field(
        default=1.0, description="quadratic, double_well: standard deviation of gradient noise"
    )
    lam: Positive = Field(default=0.5, description="gamma_quadratic: shape; small is a wide spread")
    om: Positive = Field(default=0.5, description="gamma_quadratic: rate")
    x0: Finite = Field(default=1.0, description="the start of every coordinate")
    size: Annotated[int, Field(ge=1, le=10**8)] = Field(
        default=1, description="independent coordinates"
    )
    saddle: bool = Field(default=False, description="double_well: a second dimension")
    step_s: Seconds = Field(default=1.0, description="virtual seconds a gradient step takes")
    slowness: tuple[Positive, ...] = Field(
        default=(), description="factors on step_s, worker by worker, repeated"
    )
    jitter: Annotated[float, Field(ge=0, le=3)] = Field(
        default=0.0, description="step times vary by exp(jitter * normal)"
    )
    random_order: bool = Field(
        default=False, description="exponential step times: the thesis's random order"
    )
    latency_s: Delay = Field(default=0.0, description="of every wire, one way")
    bytes_per_s: Positive | None = Field(
        default=None, description="of every wire; absent: no limit"
    )
    exchanges: Count | None = Field(
        default=None, description="stop after so many exchanges (1000 where nothing else stops it)"
    )
    faults: tuple[FaultSection, ...] = Field(default=(), description="what happens, and when")


class StopSection(Section):
    """When a run ends: at the first of these that comes true."""

    samples: Count | None = Field(default=None, description="training samples, over all workers")
    seconds: Seconds | None = Field(default=None, description="seconds of training")
    accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="validation accuracy of the center, 0 to 1"
    )


class EvaluationSection(Section):
    """The evaluator, which tests the center and makes no worker wait."""

    interval_s: Seconds = Field(default=5.0, description="at least this many seconds between tests")
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.2, description="at most this share of the time is spent testing"
    )


class RunSection(Section):
    """Where a run leaves its folder."""

    name: str | None = Field(
        default=None, description="a folder's name, as mine-2; fresh if absent"
    )
    storage: str = Field(
        default="~/ray-easgd", description="a path, or a URI that pyarrow's fs knows"
    )

    checkpoint_s: Delay = Field(
        default=60.0, description="seconds between checkpoints; 0: one when it ends"
    )
    keep: Count = Field(
        default=3, description="checkpoints that are kept, the newest; and the best one"
    )

    rollbacks: Annotated[int, Field(ge=0)] = Field(
        default=3,
        description="how often a run whose loss blows up goes back to its best checkpoint, with "
        "half the learning rate; 0: it ends with an error",
    )

    journal: str | None = Field(
        default=None, description="a folder of this machine for each process to keep a journal in"
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


def _as_number(value: Any) -> Any:
    """What YAML takes for text, as 1e-8, and whoever wrote it for a number; also in a list."""
    if isinstance(value, list | tuple):
        return [_as_number(one) for one in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _range(value: int | str) -> tuple[int, int]:
    low, dots, high = str(value).partition("..")
    try:
        return int(low), int(high if dots else low)
    except ValueError:
        raise ValueError("give a whole number, or `min..max`") from None
