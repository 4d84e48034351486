"""The environment variables we read, each in one place and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def data_root() -> Path | None:
    """``RAY_EASGD_DATA``: the folder of ``NAME/{train,test}.parquet``, or None if unset."""
    value = os.environ.get("RAY_EASGD_DATA")
    return Path(value) if value else None


def cache_root() -> Path:
    """``RAY_EASGD_CACHE``: where decoded data is kept; default ``~/.cache/ray-easgd``."""
    value = os.environ.get("RAY_EASGD_CACHE")
    return Path(value) if value else Path.home() / ".cache" / "ray-easgd"


def ray_token() -> tuple[str, str]:
    """The token of Ray's clusters and where it was found, where Ray itself looks and in its order.

    ``RAY_AUTH_TOKEN``, the file ``RAY_AUTH_TOKEN_PATH``, ``~/.ray/auth_token``; empty if nowhere.
    """
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip(), "RAY_AUTH_TOKEN"
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(given) if given else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text("utf-8").strip(), str(path)
    except FileNotFoundError:
        return "", ""


def ray_api_address() -> str | None:
    """``RAY_API_SERVER_ADDRESS``: the head's HTTP API, where it is not found by ``ray_address``."""
    return os.environ.get("RAY_API_SERVER_ADDRESS") or None


@contextmanager
def ray_api_at(url: str) -> Iterator[None]:
    """Ray takes the address of its HTTP API from the environment before the one it is given."""
    before = os.environ.get("RAY_API_SERVER_ADDRESS")
    os.environ["RAY_API_SERVER_ADDRESS"] = url
    try:
        yield
    finally:
        del os.environ["RAY_API_SERVER_ADDRESS"]
        if before is not None:
            os.environ["RAY_API_SERVER_ADDRESS"] = before


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
