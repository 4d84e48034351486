"""What a hyper-parameter may be: each check names the argument, its value and its domain."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
"""Of the shape the arguments broadcast to; a numpy scalar where all of them are scalars."""

Flags = NDArray[np.bool_]


def real(name: str, value: ArrayLike) -> Array:
    """Any number, or an array of them."""
    array = np.asarray(value, dtype=np.float64)
    return checked(name, array, ~np.isnan(array), "a number")


def above(name: str, value: ArrayLike, bound: float) -> Array:
    """Numbers > ``bound``."""
    array = np.asarray(value, dtype=np.float64)
    return checked(name, array, array > bound, f"> {bound:g}")


def at_least(name: str, value: ArrayLike, bound: float) -> Array:
    """Numbers >= ``bound``."""
    array = np.asarray(value, dtype=np.float64)
    return checked(name, array, array >= bound, f">= {bound:g}")


def between(name: str, value: ArrayLike, low: float, high: float) -> Array:
    """Numbers in [``low``, ``high``]."""
    array = np.asarray(value, dtype=np.float64)
    return checked(name, array, (array >= low) & (array <= high), f"in [{low:g}, {high:g}]")


def whole(name: str, value: int, least: int) -> int:
    """One whole number >= ``least``: the size of something."""
    if not (float(value).is_integer() and value >= least):
        raise ValueError(f"{name} = {value!r}: must be a whole number >= {least}")
    return int(value)


def whole_numbers(name: str, value: ArrayLike, least: int) -> Array:
    """Whole numbers >= ``least``."""
    array = np.asarray(value, dtype=np.float64)
    fine = (array >= least) & (array == np.floor(array))
    return checked(name, array, fine, f"a whole number >= {least}")


def checked(name: str, array: Array, fine: Flags, domain: str) -> Array:
    """``array`` itself; ValueError with the first value that is not ``fine``."""
    if not np.all(fine):
        first = np.broadcast_to(array, np.shape(fine))[np.logical_not(fine)]
        raise ValueError(f"{name} = {np.ravel(first)[0]:g}: must be {domain}")
    return array
