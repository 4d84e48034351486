"""The methods, by name. Adding one is a file with its pieces and a line in ``METHODS``."""

from __future__ import annotations

from difflib import get_close_matches

from ray_easgd.algorithms.contract import Add, Algorithm, CenterStep, Exchange, State
from ray_easgd.algorithms.downpour import ADOWNPOUR, DOWNPOUR, MDOWNPOUR, MVADOWNPOUR
from ray_easgd.algorithms.elastic import EAMSGD, EASGD
from ray_easgd.algorithms.sequential import ASGD, MSGD, MVASGD, SGD
from ray_easgd.algorithms.steps import LocalStep, Nesterov, Sgd, TorchStep
from ray_easgd.errors import BadConfig

_ALL = (
    *(SGD, MSGD, ASGD, MVASGD),
    *(EASGD, EAMSGD),
    *(DOWNPOUR, ADOWNPOUR, MVADOWNPOUR, MDOWNPOUR),
)
METHODS: dict[str, Algorithm] = {a.name: a for a in _ALL}


def find_method(name: str) -> Algorithm:
    """The algorithm of that name; BadConfig with the nearest known one otherwise."""
    if name in METHODS:
        return METHODS[name]
    near = get_close_matches(name, METHODS, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise BadConfig(
        "algorithm.name", name, "there is no such method", f"{hint}Known: {', '.join(METHODS)}."
    )


__all__ = [
    "METHODS",
    "Add",
    "Algorithm",
    "CenterStep",
    "Exchange",
    "LocalStep",
    "Nesterov",
    "Sgd",
    "State",
    "TorchStep",
    "find_method",
]
