"""What the files in ``docker/`` are held against: closed schemas, Ray's own, its command line."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import jsonschema  # type: ignore[import-untyped]
import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
SCHEMAS = Path(__file__).parent / "schemas"

FILES = {
    path.relative_to(DOCKER).as_posix(): schema
    for schema, paths in {
        "kuberay": DOCKER.glob("kuberay/*"),
        "launcher": DOCKER.glob("launcher/*"),
        "compose": [*DOCKER.glob("*.yaml"), *DOCKER.glob("grafana/*")],
    }.items()
    for path in sorted(paths)
}
"""Each YAML file below ``docker/``, and the schema file that has its schema under its own name."""


def load(name: str) -> Any:
    """A fresh copy; what was an anchor and its aliases is separate."""
    return json.loads(json.dumps(yaml.safe_load((DOCKER / name).read_text("utf-8"))))


def problems(name: str, document: Any) -> list[str]:
    """What is wrong with the document: by its schema, and if by that nothing is, by Ray."""
    found = [error.message for error in _validator(name).iter_errors(document)]
    asks = {"launcher": _problems_of_the_launcher, "kuberay": _problems_of_starting}
    return found or asks.get(FILES[name], lambda _: [])(document)


def misspellings(document: Any) -> Iterator[tuple[str, Any]]:
    """The document once for each key in it, with that key misspelt; and the way to the key."""
    for way in _ways(document):
        changed = copy.deepcopy(document)
        *outer, key = way
        holder = changed
        for step in outer:
            holder = holder[step]
        holder[f"{key}x"] = holder.pop(key)
        yield ".".join(map(str, way)), changed


def commands(document: Any, program: str) -> Iterator[list[str]]:
    """The words after each ``program`` in the document's strings and lists of words."""
    if isinstance(document, dict):
        for value in document.values():
            yield from commands(value, program)
    elif isinstance(document, list) and document[:1] == ["CMD"]:  # of a health check
        yield from commands(document[1:], program)
    elif isinstance(document, list) and document[:1] == [program]:
        yield [str(word) for word in document[1:]]
    elif isinstance(document, list):
        for value in document:
            yield from commands(value, program)
    elif isinstance(document, str):
        yield from _commands_in_shell(document, program)


def refused(command: click.Command, words: list[str]) -> str | None:
    """What the command line says to these words, and runs nothing; None if they are good."""
    while isinstance(command, click.Group):
        subcommand = command.get_command(click.Context(command), words[0])
        if subcommand is None:
            return f"no command {words[0]!r}"
        command, words = subcommand, words[1:]
    try:
        command.make_context(command.name, list(words))
    except click.ClickException as error:
        return error.format_message()
    return None


def _commands_in_shell(line: str, program: str) -> Iterator[list[str]]:
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:  # prose, with an apostrophe
        return
    for start, word in enumerate(words):
        if word.rpartition("/")[2] == program:
            rest = words[start + 1 :]
            ends = [at for at, each in enumerate(rest) if set(each) <= set(";|&<>()")]
            rest = rest[: ends[0]] if ends else rest
            if rest:  # else a path or a name that reads like the program
                yield rest


def _ways(document: Any) -> Iterator[tuple[Any, ...]]:
    steps = document.items() if isinstance(document, dict) else enumerate(document)
    for step, value in steps:
        if isinstance(document, dict):
            yield (step,)
        if isinstance(value, dict | list):
            yield from ((step, *rest) for rest in _ways(value))


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    schemas = _closed(yaml.safe_load((SCHEMAS / f"{FILES[name]}.yaml").read_text("utf-8")))
    schema = {"definitions": schemas["definitions"], "allOf": [schemas[Path(name).name]]}
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _closed(schema: Any) -> Any:
    """With every object that lists its properties closed to others."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        return {"type": "object", "additionalProperties": False, **inner}
    return inner


def _problems_of_starting(document: Any) -> list[str]:
    """The groups' rayStartParams are options of `ray start`."""
    from ray.scripts.scripts import cli

    spec = document["spec"].get("rayClusterSpec", document["spec"])
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    lines = [[f"--{key}={value}" for key, value in g["rayStartParams"].items()] for g in groups]
    complaints = [refused(cli, ["start", *line]) for line in lines]
    return [complaint for complaint in complaints if complaint]


def _problems_of_the_launcher(document: Any) -> list[str]:
    """As `ray up` finds them before it asks any cloud."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(copy.deepcopy(document)))
    except (jsonschema.ValidationError, ValueError, KeyError, TypeError, RuntimeError) as error:
        return [str(error)]
    return []
