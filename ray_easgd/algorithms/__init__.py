"""The methods, by name. Adding one is a file with its pieces and a line in ``TABLE``."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from ray_easgd.algorithms.contract import Add, Algorithm, CenterStep, Exchange, State
from ray_easgd.algorithms.steps import Clipped, LocalStep, Nesterov, Sgd, TorchStep
from ray_easgd.errors import BadConfig

TABLE = {
    "sgd": "sequential.SGD",
    "msgd": "sequential.MSGD",
    "asgd": "sequential.ASGD",
    "mvasgd": "sequential.MVASGD",
    "easgd": "elastic.EASGD",
    "eamsgd": "elastic.EAMSGD",
    "easgd_sync": "elastic.EASGD_SYNC",
    "gauss_seidel": "two_rate.GAUSS_SEIDEL",
    "two_rate": "two_rate.TWO_RATE",
    "downpour": "downpour.DOWNPOUR",
    "adownpour": "downpour.ADOWNPOUR",
    "mvadownpour": "downpour.MVADOWNPOUR",
    "mdownpour": "downpour.MDOWNPOUR",
    "admm": "admm.ADMM",
    "admm_async": "admm.ADMM_ASYNC",
    "local_sgd": "diloco.LOCAL_SGD",
    "diloco": "diloco.DILOCO",
    "diloco_async": "diloco.DILOCO_ASYNC",
}


def _load(place: str) -> Algorithm:
    file, _, name = place.partition(".")
    method: Algorithm = getattr(import_module(f"{__name__}.{file}"), name)
    return method


METHODS: dict[str, Algorithm] = {name: _load(place) for name, place in TABLE.items()}


def find_method(name: str) -> Algorithm:
    """The algorithm of that name, or the user's own at ``module:NAME``.

    BadConfig with the nearest known one where there is none.
    """
    if name in METHODS:
        return METHODS[name]
    if ":" in name:
        return _users_own(name)
    near = get_close_matches(name, METHODS, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise BadConfig(
        "algorithm.name",
        name,
        "there is no such method",
        f"{hint}Known: {', '.join(METHODS)}; or give your own as module:NAME.",
    )


def _users_own(place: str) -> Algorithm:
    module, _, name = place.partition(":")
    try:
        method = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadConfig(
            "algorithm.name", place, f"it cannot be imported ({error})", "Mend module:NAME."
        ) from error
    if not isinstance(method, Algorithm):
        raise BadConfig(
            "algorithm.name",
            place,
            f"it is a {type(method).__name__}, not an Algorithm",
            "Give ray_easgd.algorithms.Algorithm(...), as docs/adding-a-method.md shows.",
        )
    return method


__all__ = [
    "METHODS",
    "Add",
    "Algorithm",
    "CenterStep",
    "Clipped",
    "Exchange",
    "LocalStep",
    "Nesterov",
    "Sgd",
    "State",
    "TorchStep",
    "find_method",
]
