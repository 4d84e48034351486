"""The environment variables we read, each in one place and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path | None:
    """``RAY_EASGD_DATA``: the folder of ``NAME/{train,test}.parquet``, or None if unset."""
    value = os.environ.get("RAY_EASGD_DATA")
    return Path(value) if value else None


def cache_root() -> Path:
    """``RAY_EASGD_CACHE``: where decoded data is kept; default ``~/.cache/ray-easgd``."""
    value = os.environ.get("RAY_EASGD_CACHE")
    return Path(value) if value else Path.home() / ".cache" / "ray-easgd"


def ray_address() -> str | None:
    """``RAY_ADDRESS``: the cluster to join when ``address`` is not given (set in Ray jobs)."""
    return os.environ.get("RAY_ADDRESS") or None


def ray_sessions() -> Path:
    """``RAY_TMPDIR``, ``TMPDIR``: where Ray keeps the folders of its sessions on this machine."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"


def grafana_boards() -> Path | None:
    """The folder of boards that Ray's head was told to provision Grafana from, if it was.

    ``RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR``, or below ``RAY_METRICS_OUTPUT_ROOT``.
    """
    if folder := os.environ.get("RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR"):
        return Path(folder)
    root = os.environ.get("RAY_METRICS_OUTPUT_ROOT")
    return Path(root, "grafana", "dashboards") if root else None
