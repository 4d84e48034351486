"""Puts the board and the alert rules where Grafana and Prometheus of a cluster find them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ray_easgd.dashboard import ALERTS, BOARD
from ray_easgd.environment import grafana_boards, ray_sessions
from ray_easgd.errors import BadStorage

_INSTALLED = {BOARD: "ray_easgd_board.json", ALERTS: "ray_easgd_alerts.yml"}
_BOARDS = Path("metrics", "grafana", "dashboards")


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the two files are now."""

    board: Path
    alerts: Path


def install(folder: Path) -> Installed:
    """Copy both into that folder. Raises BadStorage where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source, name in _INSTALLED.items():
            (folder / name).write_bytes(source.read_bytes())
    except OSError as error:
        raise BadStorage(
            "--to", str(folder), str(error.strerror), "Give a folder that you may write to."
        ) from None
    return Installed(*(folder / name for name in _INSTALLED.values()))


def folder_of_session() -> Path:
    """The folder that the Grafana of this machine's newest Ray session reads its boards from.

    Ray makes it at the start of a head with its dashboard, and of no other. Raises BadStorage
    where there is none.
    """
    if (given := grafana_boards()) is not None:
        return given
    sessions = ray_sessions()
    found = [
        boards for session in sessions.glob("session_2*") if (boards := session / _BOARDS).is_dir()
    ]
    if not found:
        raise BadStorage(
            "--to",
            None,
            f"no session of Ray under {sessions} has a folder of Grafana boards",
            "Run this on the head node, after `ray start --head`, or give the folder that your "
            "Grafana provisions boards from: --to FOLDER.",
        )
    return max(found)  # a session's name is the time when it began
