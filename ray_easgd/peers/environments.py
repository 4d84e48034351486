"""What a contender needs beside our own packages, installed once into the cache, above them.

Such an environment holds only what its constraints file lists; all else, torch and Ray among it,
is that of the environment we run in, so that everybody is measured on the same builds.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from ray_easgd.environment import cache_root
from ray_easgd.errors import Unavailable

Tell = Callable[[str], None]

_CONSTRAINTS = Path(__file__).parent / "constraints"
_STAMP = "installed"
_LONGEST_S = 600.0


def python_of(name: str, tell: Tell) -> Path:
    """The interpreter of the environment ``name``, made if it is not there yet.

    Unavailable, with what the installer says, where it cannot be made.
    """
    wanted = _CONSTRAINTS / f"{name}.txt"
    below = sysconfig.get_path("purelib")
    mark = hashlib.sha256(f"{wanted.read_text()}{below}{sys.version}".encode()).hexdigest()[:12]
    folder = cache_root() / "peers" / f"{name}-{mark}"
    python = folder / "bin" / "python"
    if not (folder / _STAMP).exists():
        tell(f"peers: installing {name} into {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _install(name, folder, python, wanted, below)
        (folder / _STAMP).touch()
    return python


def _install(name: str, folder: Path, python: Path, wanted: Path, below: str) -> None:
    uv = _uv(name)
    _run(name, uv, "venv", "--python", sys.executable, str(folder))
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "_below.pth").write_text(f"import site; site.addsitedir({below!r})\n", "utf-8")
    words = [
        "pip",
        "install",
        "--no-deps",
        "--compile-bytecode",
        "--python",
        str(python),
        "-r",
        str(wanted),
    ]
    _run(name, uv, *words)


def _uv(name: str) -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise Unavailable(name, "there is no uv to install it with (pip install uv)")
    return found


def _run(name: str, *command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_LONGEST_S
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(name, f"installing took over {_LONGEST_S:g} s") from None
    if done.returncode:
        raise Unavailable(name, " ".join(done.stderr.split())[-300:])
