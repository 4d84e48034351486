"""Rows behind a capped link: the hosts are made here, and what runs inside is ended here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from actors.benchmark.cases import Case, line_rate
from actors.benchmark.namespaces import linked_hosts
from actors.benchmark.nodes import run_inside, short_folder
from actors.cluster import SLOW_LINES

if TYPE_CHECKING:
    from actors.benchmark.exchange import Row, Tell


def measure_over_link(cases: Sequence[Case], *, rate: str, tell: Tell) -> list[Row]:
    """One row for each case, hub and worker on two hosts with ``rate`` between them.

    Needs root, ``ip`` and ``tc``. Every process, namespace and file of it is gone afterwards.
    """
    line_rate(rate)
    with short_folder("link") as folder, linked_hosts(rate) as hosts:
        tell(f"link: two network namespaces, {rate} in each direction")
        order = {
            "cases": [asdict(case) for case in cases],
            "line_bytes_per_s": line_rate(rate),
            "hub": asdict(hosts[0]),
            "worker": asdict(hosts[1]),
            "folder": folder,
        }
        program = "actors.benchmark.link_driver"
        rows: list[Row] = run_inside(hosts[0], program, order, Path(folder), **SLOW_LINES)
        return rows
