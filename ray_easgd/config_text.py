"""How keys are written: YAML without a key given twice; in groups, or dotted."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Any

import yaml

from ray_easgd.errors import BadConfig

_SHORT = {"optimizer.schedule": "name"}  # groups that a single word may stand for: this key of it


class _Loader(yaml.SafeLoader):
    """Of two equal keys in one mapping PyYAML silently drops the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for written, _ in node.value:
            if written.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(written, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    problem = f"the key {key!r} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, written.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)


def parse(text: str) -> Any:
    """What a YAML text says; yaml.YAMLError also for a key that is there twice."""
    return yaml.load(text, _Loader)


def flat(values: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Dotted keys to values, however they were grouped; BadConfig for one that is set twice.

    ``known`` keys may have mappings for values.
    """
    found: dict[str, Any] = {}
    for key, value in _leaves(values, known):
        if key in found:
            raise BadConfig(key, value, f"it is also set to {found[key]!r}", "Leave one away.")
        found[key] = value
    return found


def _leaves(
    values: Mapping[str, Any], known: Collection[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value and key not in known:
            yield from _leaves(value, known, f"{key}.")
        elif key in _SHORT and isinstance(value, str):
            yield f"{key}.{_SHORT[key]}", value
        else:
            yield key, value


def nested(found: Mapping[str, Any]) -> dict[str, Any]:
    """The groups that dotted keys describe."""
    tree: dict[str, Any] = {}
    for key in sorted(found):  # a group's own key before those in it
        *parents, last = key.split(".")
        group = tree
        for depth, parent in enumerate(parents, 1):
            group = group.setdefault(parent, {})
            if not isinstance(group, dict):
                path = ".".join(parents[:depth])
                raise BadConfig(
                    path,
                    group,
                    f"it is a group of keys, and {key} is set in it too",
                    f"Leave {path}={group} away.",
                )
        value = found[key]
        group[last] = dict(value) if isinstance(value, Mapping) else value
    return tree
