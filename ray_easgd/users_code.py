"""Mistakes in the user's own code, told as errors of ours: what went wrong, and in which line.

The traceback stays with the error, as its ``__cause__``.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray_easgd.errors import BadInput, EasgdError

_HOUSE = str(Path(__file__).parent)  # of the user's are lines neither here nor in a library
_LIBRARIES = (_HOUSE, *{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


@contextmanager
def blaming(
    error: type[BadInput], field: str, value: object, doing: str, remedy: str
) -> Iterator[None]:
    """What the user's code raises in here becomes ``error``; ``doing``: as in ``it raised``."""
    try:
        yield
    except EasgdError:
        raise  # it says itself what is wrong
    except Exception as cause:  # whatever it may be
        raise error(field, value, f"{doing} {cause_of(cause)}", remedy) from cause


def cause_of(error: BaseException) -> str:
    """An exception in a line, and the last of the user's own lines on its way."""
    lines = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return f"{said}{_place_of(error)}".rstrip(".")


def _place_of(error: BaseException) -> str:
    if isinstance(error, SyntaxError):  # its message has the line already
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _is_users(file: str) -> bool:
    return not file.startswith(("<", *_LIBRARIES)) and "site-packages" not in file
