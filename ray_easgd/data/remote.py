"""Data behind a URI: copied once into this machine's cache, and read from there.

A machine that has just come to a cluster finds its data by itself so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray_easgd.data import cache
from ray_easgd.data.tables import ENDINGS
from ray_easgd.errors import BadData

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

FILES = (*(f"{split}.{ending}" for split in ("train", "test") for ending in ENDINGS), "input.txt")
_AT_A_TIME = 8 << 20  # bytes


def fetched(uri: str) -> Path:
    """A folder on this machine with those of ``FILES`` that lie at ``uri``.

    Copied again where they have changed; the newest copy, where the place does not answer.
    BadData where there is none.
    """
    from pyarrow.fs import FileSystem, LocalFileSystem

    filesystem, root = _asked(uri, lambda: FileSystem.from_uri(uri))
    if isinstance(filesystem, LocalFileSystem):
        return Path(root)
    name = f"{root.rstrip('/').rpartition('/')[2]}-{cache.digest(uri)}"
    try:
        files = _listed(uri, filesystem, root)
    except BadData:
        if (copy := cache.newest(f"{name}-*-files")) is not None:
            return copy
        raise
    facts = sorted((name, info.size, info.mtime_ns) for name, info in files.items())
    key = f"{name}-{cache.digest(facts)}-files"
    return cache.entry(key, partial(_copy, uri, filesystem, files))


def _listed(uri: str, filesystem: FileSystem, root: str) -> dict[str, FileInfo]:
    from pyarrow.fs import FileSelector

    listed = _asked(uri, lambda: filesystem.get_file_info(FileSelector(root)))
    files = {info.base_name: info for info in listed if info.base_name in FILES}
    if not files:
        problem = f"none of {', '.join(FILES)} is there"
        raise BadData("data", uri, problem, "Give the folder that holds them.")
    return files


def _copy(uri: str, filesystem: FileSystem, files: Mapping[str, FileInfo], folder: Path) -> None:
    for name, info in files.items():
        source = _asked(uri, partial(filesystem.open_input_stream, info.path))
        with source, (folder / name).open("wb") as copy:
            while chunk := _asked(uri, partial(source.read, _AT_A_TIME)):
                copy.write(chunk)


def _asked(uri: str, ask: Callable[[], Any]) -> Any:
    import pyarrow

    try:
        return ask()
    except (OSError, ValueError, NotImplementedError, pyarrow.ArrowException) as error:
        remedy = "Give a folder's URI that pyarrow.fs.FileSystem.from_uri understands, as s3://."
        raise BadData("data", uri, f"it cannot be read: {error}", remedy) from error
