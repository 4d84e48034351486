"""The words that the signatures of the codec's loops share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Parts = tuple[NDArray[Any], ...]


def read_only(part: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to.

    numba tells such arrays from others. What comes out of an object store is one already, so a
    loop that always reads its parts through one is compiled only once.
    """
    view = part.view()
    view.flags.writeable = False
    return view
