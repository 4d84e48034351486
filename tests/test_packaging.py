"""What the wheel holds, and that it imports where nothing else is installed."""

from __future__ import annotations

import subprocess
import sys
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]

CLEAN_IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
import ray_easgd, ray_easgd.errors, ray_easgd.version
assert ray_easgd.__file__.startswith(sys.argv[1]), ray_easgd.__file__
print(ray_easgd.version.__version__)
"""


def run(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def metadata(wheel: Path, names: list[str]) -> Message:
    (name,) = [name for name in names if name.endswith(".dist-info/METADATA")]
    with ZipFile(wheel) as archive:
        return HeaderParser().parsestr(archive.read(name).decode())


def test_the_wheel_ships_the_library_and_the_actors_and_nothing_else(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    info = {top for top in tops if top.endswith(".dist-info")}
    assert len(info) == 1
    assert tops - info == {"ray_easgd", "actors"}


@pytest.mark.parametrize("package", ["ray_easgd", "actors"])
def test_both_packages_are_marked_as_typed(names: list[str], package: str) -> None:
    assert f"{package}/py.typed" in names


def test_the_license_ships_with_the_wheel(names: list[str], metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert [name for name in names if name.endswith("/licenses/LICENSE")]


def test_the_metadata_names_no_host(metadata: Message) -> None:
    fields = [f"{field}: {value}" for field, value in metadata.items()]
    assert not [field for field in fields if "://" in field or " @ " in field]


def test_the_wheel_imports_where_nothing_else_is_installed(wheel: Path, metadata: Message) -> None:
    assert run("-I", "-S", "-c", CLEAN_IMPORT, str(wheel)) == metadata["Version"]
