"""A run's metrics as curves, and what makes a curve of many points readable."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

    Column = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """One metric of one source: three columns of shape (k,), by time, finite values only."""

    source: str
    time_s: Column
    samples: Column
    value: Column


class Numbers:
    """All metrics of a run."""

    def __init__(self, table: pyarrow.Table) -> None:
        columns = {name: np.asarray(table[name]) for name in table.column_names}
        order = np.argsort(columns["time_s"], kind="stable")
        self._columns = {name: column[order] for name, column in columns.items()}

    def __len__(self) -> int:
        return len(self._columns["value"])

    def names(self) -> list[str]:
        """Every metric's name, sorted."""
        return sorted(set(self._columns["name"]))

    def curves(self, name: str) -> list[Curve]:
        """A metric's curves, worker-2 before worker-10."""
        rows = (self._columns["name"] == name) & np.isfinite(self._columns["value"])
        sources = self._columns["source"]
        return [self._curve(s, rows & (sources == s)) for s in natural(set(sources[rows]))]

    def last(self, name: str) -> float | None:
        """A metric's newest finite value, whoever measured it."""
        curve = pooled(self.curves(name))
        return float(curve.value[-1]) if len(curve.value) else None

    def highest(self, name: str) -> float | None:
        curve = pooled(self.curves(name))
        return float(curve.value.max()) if len(curve.value) else None

    def reached(self) -> tuple[float, int]:
        """How far the run came: seconds, samples."""
        if not len(self):
            return 0.0, 0
        return float(self._columns["time_s"][-1]), int(self._columns["samples"].max())

    def workers(self) -> list[str]:
        return natural({s for s in self._columns["source"] if s.startswith("worker")})

    def _curve(self, source: str, rows: NDArray[np.bool_]) -> Curve:
        time_s, samples, value = (
            self._columns[name][rows].astype(float) for name in ("time_s", "samples", "value")
        )
        return Curve(source, time_s, samples, value)


def pooled(curves: Sequence[Curve], label: str = "all") -> Curve:
    """Several curves as one cloud of points, by time."""
    if not curves:
        return Curve(label, *(np.empty(0) for _ in range(3)))
    time_s, samples, value = (
        np.concatenate([getattr(curve, name) for curve in curves])
        for name in ("time_s", "samples", "value")
    )
    order = np.argsort(time_s, kind="stable")
    return Curve(label, time_s[order], samples[order], value[order])


def binned(x: Column, y: Column, num_bins: int) -> tuple[Column, Column, Column, Column]:
    """The middle, and the 10th, 50th and 90th percentile of y, in equal bins of x.

    Bins without a point are left out; points fewer than bins stay as they are.
    """
    if len(x) <= num_bins:
        return x, y, y, y
    edges = np.linspace(x.min(), x.max(), num_bins + 1)
    which = np.clip(np.digitize(x, edges) - 1, 0, num_bins - 1)
    bins = [which == i for i in np.unique(which)]
    low, middle, high = np.array([np.percentile(y[b], [10, 50, 90]) for b in bins]).T
    return np.array([x[b].mean() for b in bins]), low, middle, high


def natural(names: set[str]) -> list[str]:
    """Sorted as a person would: worker-2 before worker-10."""
    return sorted(names, key=lambda name: [int(p) if p.isdigit() else p for p in _parts(name)])


def _parts(name: str) -> list[str]:
    return re.split(r"(\d+)", name)
