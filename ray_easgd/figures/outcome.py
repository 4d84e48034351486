"""What a figure found: numbers, whether they are the expected ones, a table and a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Row = dict[str, Any]
_SIGMAS = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """A number that was found, beside the one it should be. ``within`` is absolute."""

    what: str
    found: float
    expected: float
    within: float

    @property
    def holds(self) -> bool:
        """False for anything that is not a number, too."""
        return self.found == self.expected or abs(self.found - self.expected) <= self.within

    @property
    def strain(self) -> float:
        """The deviation, as a share of what is allowed."""
        return abs(self.found - self.expected) / self.within if self.within else 0.0

    def __str__(self) -> str:
        return f"{self.what}: {self.found:.6g}, not {self.expected:.6g} within {self.within:.2g}"


@dataclass(frozen=True, slots=True)
class AtLeast(Check):
    """A number that should be ``expected``, or more."""

    @property
    def holds(self) -> bool:
        return self.found >= self.expected

    @property
    def strain(self) -> float:
        return 0.0

    def __str__(self) -> str:
        return f"{self.what}: {self.found:.4g}, not {self.expected:.4g} or more"


@dataclass(frozen=True, kw_only=True)
class Found:
    """``rows`` are the table; ``draw`` fills an empty canvas of ``size`` inches."""

    checks: Sequence[Check]
    rows: Sequence[Row]
    draw: Callable[[Canvas], None]
    size: tuple[float, float] = (6.4, 4.2)
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    @property
    def reason(self) -> str:
        """In one sentence: how well, or what does not."""
        failed = [check for check in self.checks if not check.holds]
        if failed:
            more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
            return "; ".join(str(check) for check in failed[:3]) + more
        widest = max(self.checks, key=lambda check: check.strain)
        if not widest.strain:
            return f"all {len(self.checks)} numbers agree"
        return (
            f"all {len(self.checks)} numbers agree; the widest deviation is "
            f"{widest.strain:.0%} of what is allowed ({widest.what})"
        )


def number(what: str, found: ArrayLike, expected: ArrayLike, within: float) -> Check:
    """One number against another."""
    return Check(what, float(np.asarray(found)), float(np.asarray(expected)), within)


def quoted(what: str, found: ArrayLike, expected: float, digits: int) -> Check:
    """Against a number that docs/mathematics.md gives to so many decimals."""
    return number(what, found, expected, 0.51 * 10.0**-digits)


def at_least(what: str, found: ArrayLike, bound: float) -> Check:
    """A number that should be no smaller than a bound."""
    return AtLeast(what, float(np.asarray(found)), bound, 0.0)


def nothing(what: str, deviations: ArrayLike, within: float = 1e-9) -> Check:
    """That the largest of some deviations is 0, up to rounding."""
    return number(what, np.abs(np.asarray(deviations)).max(), 0.0, within)


def true(what: str, holds: ArrayLike) -> Check:
    """That something is so, everywhere."""
    return Check(what, float(np.all(holds)), 1.0, 0.0)


def mean_of(what: str, samples: ArrayLike, expected: ArrayLike) -> Check:
    """That repetitions average to ``expected``, within five standard errors of their mean."""
    drawn = np.asarray(samples, dtype=np.float64)
    error = float(drawn.std(ddof=1)) / math.sqrt(drawn.size)
    return number(what, drawn.mean(), expected, _SIGMAS * error)
