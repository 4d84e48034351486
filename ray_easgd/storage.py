"""A folder that keeps files: on this machine, or wherever pyarrow has a file system for.

Two kinds of place with one set of verbs. Both keep one promise: a reader at any moment sees a
file whole or not at all. Locally a file is written under another name and moved; object stores
show an object only when its upload is complete. One writer at a time: the driver.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


class Place(Protocol):
    """A folder. File names are relative to it, with forward slashes."""

    @property
    def shown(self) -> str:
        """The path or URI by which a user names this folder."""
        ...

    def child(self, name: str) -> Place: ...
    def create(self) -> None: ...
    def exists(self, name: str) -> bool: ...
    def names(self, folder: str) -> list[str]:
        """What lies directly in a folder, sorted; hidden files left out, [] if it is not there."""
        ...

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises FileNotFoundError."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file, whole or not at all, folders made as needed."""
        ...

    def append(self, name: str, data: bytes) -> None:
        """Add whole lines to a file; a line that an earlier crash cut off goes first."""
        ...

    def claim(self, name: str) -> None:
        """Create an empty file. Raises FileExistsError when another run was here first."""
        ...

    def delete(self, name: str) -> None: ...
    def delete_all(self) -> None:
        """The folder itself, with all that is in it."""
        ...

    def stage(self, name: str) -> Path:
        """A folder on this machine for a library that writes its files itself."""
        ...

    def publish(self, name: str, staged: Path) -> None:
        """Bring what was staged to its place."""
        ...


def place_at(path: str) -> Place:
    """The place that a path (``~`` allowed) or a URI names.

    Raises OSError or ValueError when there is no file system for a URI, or it does not answer.
    """
    if "://" not in path:
        return LocalPlace(Path(os.path.abspath(Path(path).expanduser())))  # noqa: PTH100
    from pyarrow.fs import FileSystem, LocalFileSystem

    filesystem, root = FileSystem.from_uri(path)
    if isinstance(filesystem, LocalFileSystem):
        return LocalPlace(Path(root))
    return RemotePlace(filesystem, root, path)


class LocalPlace:
    """A folder on this machine, or on a file system mounted here."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def shown(self) -> str:
        return str(self._root)

    def child(self, name: str) -> LocalPlace:
        return LocalPlace(self._root / name)

    def create(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)

    def exists(self, name: str) -> bool:
        return (self._root / name).exists()

    def names(self, folder: str) -> list[str]:
        path = self._root / folder
        return sorted(p.name for p in path.iterdir() if p.name[0] != ".") if path.is_dir() else []

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        final = self._root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        unfinished = final.with_name(f".{final.name}.unfinished")
        try:
            with unfinished.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # else a power cut may keep the name and lose the bytes
            unfinished.replace(final)
        except OSError:
            unfinished.unlink(missing_ok=True)  # or it would keep a full disk full
            raise

    def append(self, name: str, data: bytes) -> None:
        with (self._root / name).open("a+b", buffering=0) as file:
            _drop_unfinished_line(file)
            end, rest = file.seek(0, os.SEEK_END), memoryview(data)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(end)  # or what is written again later would stand there twice
                raise

    def claim(self, name: str) -> None:
        (self._root / name).open("xb").close()

    def delete(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    def delete_all(self) -> None:
        if self._root.exists():
            shutil.rmtree(self._root)

    def stage(self, name: str) -> Path:
        return self._root / name

    def publish(self, name: str, staged: Path) -> None:
        """Nothing to do: it was written in its place."""


class RemotePlace:
    """A folder on S3, GCS, HDFS or whatever else ``pyarrow.fs`` reaches."""

    def __init__(self, filesystem: FileSystem, root: str, uri: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self.shown = uri

    def child(self, name: str) -> RemotePlace:
        uri, mark, options = self.shown.partition("?")  # s3://bucket/runs?region=eu-west-1
        shown = f"{uri.rstrip('/')}/{name}{mark}{options}"
        return RemotePlace(self._filesystem, f"{self._root}/{name}", shown)

    def create(self) -> None:
        self._filesystem.create_dir(self._root, recursive=True)

    def exists(self, name: str) -> bool:
        from pyarrow.fs import FileType

        kind = self._filesystem.get_file_info(self._at(name)).type
        return bool(kind != FileType.NotFound)

    def names(self, folder: str) -> list[str]:
        from pyarrow.fs import FileSelector

        selector = FileSelector(self._at(folder), allow_not_found=True)
        found = [info.base_name for info in self._filesystem.get_file_info(selector)]
        return sorted(name for name in found if not name.startswith("."))

    def read(self, name: str) -> bytes:
        with self._filesystem.open_input_stream(self._at(name)) as stream:
            return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        path = self._at(name)
        self._filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with self._filesystem.open_output_stream(path) as stream:
            stream.write(data)

    def append(self, name: str, data: bytes) -> None:
        """Object stores cannot append, so the file is written again, whole."""
        before = self.read(name) if self.exists(name) else b""
        self.write(name, before[: _whole_lines(before)] + data)

    def claim(self, name: str) -> None:
        if self.exists(name):  # no better than that: object stores differ in what they lock
            raise FileExistsError(self._at(name))
        self.write(name, b"")

    def delete(self, name: str) -> None:
        if self.exists(name):
            self._filesystem.delete_file(self._at(name))

    def delete_all(self) -> None:
        if self.exists(""):
            self._filesystem.delete_dir(self._root)

    def stage(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"ray-easgd-{name}-"))

    def publish(self, name: str, staged: Path) -> None:
        for file in sorted(staged.iterdir()):
            self.write(f"{name}/{file.name}", file.read_bytes())
        shutil.rmtree(staged)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


def _whole_lines(text: bytes) -> int:
    """How many bytes the whole lines of a file take; a line cut off by a crash follows them."""
    return text.rfind(b"\n") + 1


def _drop_unfinished_line(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read() != b"\n":
        file.seek(0)
        file.truncate(_whole_lines(file.read()))
