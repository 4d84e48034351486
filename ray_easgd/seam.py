"""The one place where the library reaches up to the Ray runtime.

``actors`` is a generic name, so another package may shadow ours; here that is noticed.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ray_easgd.protocol import PROTOCOL


def actors_module(name: str) -> ModuleType:
    """The module ``actors.NAME`` of ray-easgd; ImportError with the reason otherwise."""
    package = import_module("actors")
    found = getattr(package, "PROTOCOL", None)
    if found != PROTOCOL:
        raise ImportError(
            f"the package 'actors' at {package.__file__} is not the one of ray-easgd (protocol "
            f"{found}, expected {PROTOCOL}): another package of that name comes first on "
            "sys.path, or two versions are mixed. Rename that package, or install ray-easgd anew."
        )
    return import_module(f"actors.{name}")
