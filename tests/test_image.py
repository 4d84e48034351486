"""docker/Dockerfile, built by buildah, which needs no daemon, on a root of Debian's.

    debootstrap --variant=minbase \\
        --include=python3,python3-venv,python-is-python3,ca-certificates bookworm ROOT
    RAY_EASGD_IMAGE_BASE=ROOT python -m pytest tests/test_image.py

As root; a quarter of an hour and 30 GB. Certificates of one's own go into ROOT's usual bundle.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = os.environ.get("RAY_EASGD_IMAGE_BASE")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(not BASE, reason="RAY_EASGD_IMAGE_BASE is unset: no root to build on"),
]

Buildah = Callable[..., str]


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """Runs it with a storage of its own, which goes in the end."""
    folder = tmp_path_factory.mktemp("buildah")
    places = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]

    def run(*words: str) -> str:
        command = ["buildah", *places, "--storage-driver", "vfs", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    yield run
    run("rm", "--all")
    run("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def container(buildah: Buildah) -> str:
    base = buildah("from", "scratch")
    buildah("add", base, str(BASE), "/")
    buildah("config", "--env", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", base)
    buildah("commit", "--rm", base, "localhost/base")
    words = ["--isolation", "chroot", "--network", "host", "-f", "docker/Dockerfile"]
    buildah("bud", *words, "--build-arg", "BASE_IMAGE=localhost/base", "-t", "ray-easgd", ".")
    return buildah("from", "localhost/ray-easgd")


def test_the_image_runs_as_a_user_without_privileges(buildah: Buildah, container: str) -> None:
    inside = ["run", "--isolation", "chroot", container, "--"]
    assert buildah(*inside, "id", "-u") == "1000"
    assert buildah(*inside, "sh", "-c", "stat -c %U ~/ray-easgd ~/boards").split() == ["ray"] * 2
    assert "ray-easgd, version" in buildah(*inside, "ray-easgd", "--version")
