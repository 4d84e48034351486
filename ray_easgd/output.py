"""What the command line's files share: options, and how they tell what they have to tell."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import click

_WIDE = 300  # columns of a pipe: nothing there needs wrapping

json_option = click.option(
    "--json", "as_json", is_flag=True, help="End with one JSON object on standard output."
)


class Folder(click.Path):
    """A folder to write into. One that cannot be written to is refused before the work is done."""

    def __init__(self) -> None:
        super().__init__(file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        folder = str(super().convert(value, param, ctx))
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            self.fail(f"{folder!r} cannot be written to ({error.strerror}). Name another folder.")


api_option = click.option(
    "--address",
    metavar="URL",
    help="Of the head's dashboard, as http://HEAD:8265; default: RAY_API_SERVER_ADDRESS, "
    "RAY_ADDRESS, or the cluster on this machine.",
)


def print_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows under headings, without lines between them."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(row[c]) for c in columns))
    print_drawn(table)


def print_drawn(table: Any) -> None:
    """Anything that rich can draw; whole lines where standard output is no terminal."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


@contextmanager
def let_go(message: str) -> Iterator[None]:
    """Ctrl-C ends the looking, and nothing else."""
    try:
        yield
    except KeyboardInterrupt:
        say(message)
        sys.exit(130)


def say(line: str) -> None:
    """For whoever watches: on standard error."""
    click.echo(line, err=True)
