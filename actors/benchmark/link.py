"""Rows behind a capped link: the hosts are made here, and what runs inside is ended here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from actors.benchmark.cases import Case, line_rate
from actors.benchmark.namespaces import Host, linked_hosts
from actors.cluster import OUR_CLUSTERS, SLOW_LINES
from ray_easgd.errors import EasgdError

if TYPE_CHECKING:
    from actors.benchmark.exchange import Row, Tell

_ROOT = Path(__file__).parents[2]


def measure_over_link(cases: Sequence[Case], *, rate: str, tell: Tell) -> list[Row]:
    """One row for each case, hub and worker on two hosts with ``rate`` between them.

    Needs root, ``ip`` and ``tc``. Every process, namespace and file of it is gone afterwards.
    """
    line_rate(rate)
    with _folder() as folder, linked_hosts(rate) as hosts:
        tell(f"link: two network namespaces, {rate} in each direction")
        return _drive(cases, rate=rate, hosts=hosts, folder=Path(folder))


def _folder() -> TemporaryDirectory[str]:
    """Below /tmp and nowhere longer: the paths of Ray's sockets have to fit into 107 bytes."""
    return TemporaryDirectory(prefix=f"easgd-link-{os.getpid()}-", dir="/tmp")


def _drive(
    cases: Sequence[Case], *, rate: str, hosts: tuple[Host, Host], folder: Path
) -> list[Row]:
    """A driver of its own on the hub's host: this process cannot move into a namespace."""
    order = {
        "cases": [asdict(case) for case in cases],
        "line_bytes_per_s": line_rate(rate),
        "hub": asdict(hosts[0]),
        "worker": asdict(hosts[1]),
        "folder": str(folder),
    }
    order_file, rows_file = folder / "order.json", folder / "rows.json"
    order_file.write_text(json.dumps(order), "utf-8")
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    program = [sys.executable, "-m", "actors.benchmark.link_driver", str(order_file)]
    driver = subprocess.Popen(
        hosts[0].command(*program, str(rows_file)),
        env=os.environ
        | OUR_CLUSTERS
        | SLOW_LINES
        | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C comes to us, and we end it
    )
    try:
        code = driver.wait()
    finally:
        driver.kill()
        driver.wait()
    if code:
        raise EasgdError(f"the measurement behind the link failed (exit code {code}); see above.")
    rows: list[Row] = json.loads(rows_file.read_text("utf-8"))
    return rows
