"""Parquet and Arrow files as one thing: a schema, and rows in groups that are read one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

ENDINGS = ("parquet", "arrow")


class TableFile(Protocol):
    """``sizes``: rows of each group. Reading raises OSError or pyarrow.ArrowException."""

    schema: Any
    sizes: tuple[int, ...]

    def group(self, index: int, columns: Sequence[str]) -> Any:
        """Those columns of one group, as a pyarrow.Table."""
        ...

    def columns(self, names: Sequence[str]) -> Any:
        """Those columns, whole."""
        ...


def open_table(path: Path) -> TableFile:
    """By its ending. Raises OSError or pyarrow.ArrowException where it is no such file."""
    return _Arrow(path) if path.suffix == ".arrow" else _Parquet(path)


class _Parquet:
    def __init__(self, path: Path) -> None:
        import pyarrow.parquet

        self._file = pyarrow.parquet.ParquetFile(path, memory_map=True)
        self.schema = self._file.schema_arrow
        groups = range(self._file.num_row_groups)
        self.sizes = tuple(self._file.metadata.row_group(g).num_rows for g in groups)

    def group(self, index: int, columns: Sequence[str]) -> Any:
        return self._file.read_row_group(index, list(columns))

    def columns(self, names: Sequence[str]) -> Any:
        return self._file.read(list(names))


class _Arrow:
    """A file or a stream of record batches, mapped rather than read."""

    def __init__(self, path: Path) -> None:
        import pyarrow
        from pyarrow import ipc

        mapped = pyarrow.memory_map(str(path))
        try:
            file = ipc.open_file(mapped)
            self._batches = [file.get_batch(index) for index in range(file.num_record_batches)]
        except pyarrow.ArrowInvalid:
            mapped.seek(0)
            file = ipc.open_stream(mapped)  # as Hugging Face's data sets lie in its cache
            self._batches = list(file)
        self.schema = file.schema
        self.sizes = tuple(batch.num_rows for batch in self._batches)

    def group(self, index: int, columns: Sequence[str]) -> Any:
        import pyarrow

        return pyarrow.Table.from_batches([self._batches[index]]).select(list(columns))

    def columns(self, names: Sequence[str]) -> Any:
        import pyarrow

        return pyarrow.Table.from_batches(self._batches, self.schema).select(list(names))
