"""Names the user types: ``module:function``, and the nearest name to one that is unknown."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ray_easgd.errors import BadInput
from ray_easgd.users_code import blaming


def suggest(name: str, known: Iterable[str]) -> str:
    """A sentence with the nearest known name, or an empty string if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]}? " if near else ""


def suggest_function(name: str, function: str) -> str:
    """A sentence where ``name`` is that of a module, or of its file; else an empty string."""
    module = name.removesuffix(".py")
    is_there = module.isidentifier() and importlib.util.find_spec(module) is not None
    return (
        f"For a module of your own name a function too, as {module}:{function}. "
        if is_there
        else ""
    )


def name_of(function: Callable[..., Any]) -> str:
    """A function as ``module:function``, for messages."""
    return f"{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"


def load_function(name: str, field: str, error: type[BadInput]) -> Callable[..., Any]:
    """Import ``module:function``; ``error`` where that cannot be, or its module raises."""
    module_name, _, attribute = name.partition(":")
    if module_name.endswith(".py"):
        dotted = ".".join(part for part in Path(module_name).with_suffix("").parts if part != "/")
        problem = "a module is named without .py"
        raise error(field, name, problem, f"Write {dotted}:{attribute}.")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise error(field, name, "this is not of the form module:function", "Write my_code:load.")
    with blaming(error, field, name, f"importing {module_name} raised", "Mend that module."):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as missing:
            if not f"{module_name}.".startswith(f"{missing.name}."):
                raise  # the module is there, something it imports is not
            problem = f"no module named {missing.name} can be imported"
            raise error(field, name, problem, "Run from its folder, or install it.") from None
    function = getattr(module, attribute, None)
    if not callable(function):
        problem = f"{module_name} has no function {attribute}"
        near = suggest(attribute, vars(module))
        raise error(field, name, problem, f"{near}Name a function of that module.")
    return function  # type: ignore[no-any-return]
