"""JSON that every parser reads, though a number may be NaN or infinite.

JSON has no word for those, and Python's own encoder writes ``NaN`` bare, which browsers and jq
refuse. Here such a number becomes ``null``, and a ``non_finite`` member of the outermost object
says which it was: ``{"loss": null, "non_finite": {"/loss": "nan"}}`` (keys are JSON Pointers,
RFC 6901). ``loads`` puts the numbers back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

NON_FINITE = "non_finite"


def dumps(record: Mapping[str, object], indent: int | None = None) -> str:
    """One JSON object as text, on one line unless ``indent`` is given."""
    lost: dict[str, str] = {}
    plain = _plain(record, "", lost)
    if lost:
        plain[NON_FINITE] = lost
    return json.dumps(plain, allow_nan=False, ensure_ascii=False, indent=indent)


def loads(text: str) -> dict[str, Any]:
    """The object that ``dumps`` was given, its non-finite numbers included.

    Raises ValueError when the text is not one JSON object.
    """
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, found {type(record).__name__}")  # noqa: TRY004
    for pointer, number in record.pop(NON_FINITE, {}).items():
        _put(record, pointer, float(number))
    return record


def _plain(value: Any, pointer: str, lost: dict[str, str]) -> Any:
    """The value in JSON's own types; what JSON cannot say goes to ``lost`` by its pointer."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{pointer}/{_escape(str(k))}", lost) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v, f"{pointer}/{i}", lost) for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        lost[pointer] = str(float(value))
        return None
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if hasattr(value, "tolist"):  # a numpy scalar or array, a tensor
        return _plain(value.tolist(), pointer, lost)
    return str(value)  # a path, a date: losing its type is better than losing the record


def _put(record: Any, pointer: str, number: float) -> None:
    *parents, last = (_unescape(part) for part in pointer.split("/")[1:])
    for part in parents:
        record = record[int(part) if isinstance(record, list) else part]
    record[int(last) if isinstance(record, list) else last] = number


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
