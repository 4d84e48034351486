"""What an exchange costs a hub: measured by ``ray-easgd benchmark exchange --json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_easgd import strict_json
from ray_easgd.errors import BadInput

_README_HUB_S = {
    ("shared_memory", 2_700_000): 0.58e-3,
    ("shared_memory", 25_000_000): 9e-3,
    ("object_store", 2_700_000): 7.6e-3,
    ("object_store", 25_000_000): 49e-3,
}
_REMEDY = "Write it with: ray-easgd benchmark exchange --n 2.7e6 --n 25e6 --json > costs.json"


@dataclass(frozen=True)
class Costs:
    """Seconds that one exchange keeps a hub busy, by transport and number of parameters.

    The default is the README's table at 4 workers: the wall time per exchange of all workers
    together. It holds the workers' part too, as all ran on one machine: the hub's own is less.
    """

    hub_s: Mapping[tuple[str, int], float]
    source: str

    @classmethod
    def from_readme(cls) -> Costs:
        """Of the machine with 2 cores on which the README's table was measured."""
        return cls(_README_HUB_S, "README, 2 cores, 4 workers")

    @classmethod
    def from_file(cls, path: str) -> Costs:
        """From that command's JSON: of each transport and size the float32 row of most workers."""
        rows = [row for row in _rows(path) if row.get("format") == "float32"]
        try:
            rows.sort(key=lambda row: int(row["workers"]))
            hub_s = {
                (str(row["transport"]), int(row["n"])): 1.0 / float(row["exchanges_per_s"])
                for row in rows
            }
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise _bad(path, f"a row has no proper {error}") from error
        return cls(hub_s, path)

    def of(self, transport: str, n: int) -> float:
        """Raises BadInput where that was not measured."""
        found = self.hub_s.get((transport, n))
        if found is None:
            raise _bad(self.source, f"no float32 row for {transport} at n={n}")
        return found


def _rows(path: str) -> list[Mapping[str, Any]]:
    """Of the last line that is there: a person may have kept the whole output."""
    try:
        lines = Path(path).read_text("utf-8").strip().splitlines()
        rows = strict_json.loads(lines[-1])["rows"]
    except OSError as error:
        raise _bad(path, f"it cannot be read ({error.strerror})") from error
    except (IndexError, KeyError, ValueError) as error:
        raise _bad(path, "its last line is not what benchmark exchange --json ends with") from error
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise _bad(path, "its rows are not a list of objects")
    return rows


def _bad(path: str, problem: str) -> BadInput:
    return BadInput("--costs", path, problem, _REMEDY)
