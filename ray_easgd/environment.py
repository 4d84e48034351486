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
