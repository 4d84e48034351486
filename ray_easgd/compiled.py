"""How loops are compiled: without the interpreter's lock, once per machine where it can be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])
_njit: Any = numba.njit  # untyped


def compiled(signature: str | None = None, **options: Any) -> Callable[[F], F]:
    """``numba.njit``; with a signature, compiled at once.

    Never with all of fast-math: that deletes the checks for NaN and infinity.
    """

    def compile_(function: F) -> F:
        try:
            return cast(F, _njit(signature, nogil=True, cache=True, **options)(function))
        except RuntimeError:  # no folder to keep a cache in: compile in every process
            return cast(F, _njit(signature, nogil=True, **options)(function))

    return compile_
