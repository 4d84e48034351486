"""The configuration: every key a user may set, with its meaning, unit and range.

Read from YAML and from ``key=value`` words; unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import Field, ValidationError

from ray_easgd.config_text import flat, nested, parse
from ray_easgd.errors import BadConfig
from ray_easgd.sections import (
    AlgorithmSection,
    CenterSection,
    EvaluationSection,
    ExchangeSection,
    FleetSection,
    OptimizerSection,
    Positive,
    RunSection,
    Section,
    SimulatorSection,
    StopSection,
    TopologySection,
)


class Config(Section):
    """A whole run."""

    algorithm: AlgorithmSection = AlgorithmSection()
    optimizer: OptimizerSection = OptimizerSection()
    fleet: FleetSection = FleetSection()
    exchange: ExchangeSection = ExchangeSection()
    center: CenterSection = CenterSection()
    topology: TopologySection = TopologySection()
    simulator: SimulatorSection = SimulatorSection()
    stop: StopSection = StopSection()
    evaluation: EvaluationSection = EvaluationSection()
    run: RunSection = RunSection()
    batch_size: Annotated[int, Field(ge=1, le=10**8)] = Field(
        default=32, description="samples a worker takes a gradient over"
    )
    data: str = Field(default="digits", description="a data set's name, path, URI or function")
    model: str = Field(default="mlp", description="a model's name, or module:function")
    seed: Annotated[int, Field(ge=0, lt=2**62)] = Field(
        default=0, description="what all that is drawn at random begins from"
    )
    address: str | None = Field(
        default=None,
        description="a Ray cluster, as HEAD:6379 on one of its nodes; default: the one that the "
        "variable RAY_ADDRESS names, else, or with `local`, an embedded one",
    )
    cache_limit_gb: Positive = Field(
        default=4.0, description="decoded images kept on disk up to this size"
    )

    @classmethod
    def build(cls, values: Mapping[str, Any]) -> Config:
        """A checked configuration; BadConfig names the first key that is wrong."""
        return cls._of(flat(values, set(known_keys())))

    @classmethod
    def _of(cls, found: Mapping[str, Any]) -> Config:
        try:
            return cls.model_validate(nested(found))
        except ValidationError as error:
            raise _explain(error) from None

    @classmethod
    def load(cls, path: str | None = None, words: Iterable[str] = ()) -> Config:
        """From a YAML file (or none) and ``key=value`` words, which win."""
        known = set(known_keys())
        found = flat(_read_yaml(path), known) if path else {}
        for word in words:
            found |= flat(_parse_word(word), known)
        return cls._of(found)

    @classmethod
    def from_yaml(cls, text: str) -> Config:
        """What ``to_yaml`` gave."""
        return cls.build(parse(text) or {})

    def to_yaml(self) -> str:
        """All keys, defaults filled in; reading it back gives the same configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def split(words: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """The configuration file and the ``key=value`` words: a leading word without '=' is a file."""
    if words and "=" not in words[0]:
        return words[0], words[1:]
    return None, words


def as_words(path: str) -> Iterator[str]:
    """What a YAML file sets as ``key=value`` words, for where the file itself does not come."""
    for key, value in flat(_read_yaml(path), set(known_keys())).items():
        text = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
        yield f"{key}={text.removesuffix('...').strip()}"


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        values = parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig("CONFIG", path, str(error.strerror), "Give a YAML file's path.") from None
    except UnicodeDecodeError as error:
        raise BadConfig("CONFIG", path, f"it is not UTF-8 ({error})", "Save it as UTF-8.") from None
    except yaml.YAMLError as error:
        raise BadConfig("CONFIG", path, f"it is not YAML ({error})", "Mend that line.") from None
    if not isinstance(values or {}, dict):
        raise BadConfig("CONFIG", path, "it holds no keys", "Write `key: value` lines.")
    return values or {}


def _parse_word(word: str) -> dict[str, Any]:
    """``a.b=value`` as that key and its value."""
    key, equals, text = word.partition("=")
    if not equals or not key:
        remedy = "Write keys as fleet.workers=2; a CONFIG.yaml comes first, before all keys."
        raise BadConfig("argument", word, "it is not key=value", remedy)
    try:
        return {key: parse(text) if text else None}
    except yaml.YAMLError as error:
        problem = f"it is not a YAML value ({getattr(error, 'problem', error)})"
        remedy = "Mend it, or quote what is text, as in key='\"text\"'."
        raise BadConfig(key, text, problem, remedy) from None


def _explain(error: ValidationError) -> BadConfig:
    """One complaint as one of ours: key path, value, problem, remedy. Of several an unknown name:
    what is missing may be what was meant by it."""
    found = error.errors()
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    path = [str(part) for part in first["loc"]]
    if path and path[-1] in ("int", "str"):  # pydantic's word for a branch of a union
        path.pop()
    key, value = ".".join(path), first.get("input")
    if first["type"] == "extra_forbidden":
        return BadConfig(key, value, "there is no such key", _nearest(path))
    if first["type"] == "model_type":
        inner = [k for k in _candidates(path) if k.startswith(f"{key}.")]
        return BadConfig(key, value, "it is a group of keys", f"Set of it: {', '.join(inner)}.")
    message = first["msg"].removeprefix("Value error, ")
    return BadConfig(key or "configuration", value, message, _meaning(path))


def _nearest(path: list[str]) -> str:
    key, known = ".".join(path), _candidates(path[:-1])
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    near = near or [k for k in known if k.split(".")[-1] == key.split(".")[-1]][:1]
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."


def _candidates(path: list[str]) -> list[str]:
    """The keys there are; within an entry of a list of sections, those of such an entry."""
    inner = [".".join([*path, name]) for name in _keys_within(path)]
    return inner or list(known_keys())


def _keys_within(path: list[str]) -> list[str]:
    """Of an entry of a list of sections, as in topology.levels.0; empty elsewhere."""
    model: Any = Config
    for part in path:
        if not part.isdigit():
            fields = getattr(model, "model_fields", {})
            model = fields[part].annotation if part in fields else None
            continue
        model = next((m for m in get_args(model) if hasattr(m, "model_fields")), None)
    if model is None or not path or not path[-1].isdigit():
        return []
    return list(model.model_fields)


def _meaning(path: list[str]) -> str:
    """What the key is for, as the remedy of a wrong value."""
    model: Any = Config
    description = None
    for part in path:
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            break
        description, model = fields[part].description, fields[part].annotation
    return f"It is: {description}." if description else "See `ray-easgd keys`."


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
