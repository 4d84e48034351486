"""How the codec's loops are compiled, and the words their signatures share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Parts = tuple[NDArray[Any], ...]

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """A loop that releases the GIL and is compiled once per machine, not once per process.

    Never with fast-math: that deletes the checks for NaN and infinity.
    """
    return cast("_F", njit(nogil=True, cache=True)(function))


def read_only(part: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to.

    numba tells such arrays from others. What comes out of an object store is one already, so a
    loop that always reads its parts through one is compiled only once.
    """
    view = part.view()
    view.flags.writeable = False
    return view
