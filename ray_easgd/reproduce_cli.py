"""The command line's ``reproduce``: the thesis's figures again, each with a verdict."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ray_easgd import strict_json
from ray_easgd.output import Folder

Told = tuple[dict[str, Any], float]
"""A verdict, and the seconds it took."""


@click.command()
@click.argument("figure")
@click.option("--out", type=Folder(), required=True, help="A folder for what is written.")
@click.option(
    "--size",
    type=click.Choice(["small", "full"]),
    help="Of learning: small (default) is an hour of one core, full the paper's networks.",
)
@click.option("--data", multiple=True, help="Of learning: only this data set; may be repeated.")
@click.option(
    "--json", "as_json", is_flag=True, help="An object a figure, and one of all as the last line."
)
def reproduce(
    figure: str, out: str, size: str | None, data: tuple[str, ...], *, as_json: bool
) -> None:
    """Compute FIGURE (E1 to E21), or all of them, and say whether it agrees.

    Writes FIGURE.png, FIGURE.csv and FIGURE.json. A figure agrees where the closed form, a
    simulated fleet of the runtime's own algorithm objects and the numbers of docs/mathematics.md
    are the same. Ends with code 1 where one does not.

    `learning` trains real networks on Fashion-MNIST and CIFAR-10, in virtual time, for the shapes
    of the paper's figures 2, 3, 8 and 9 (L2, L3, L8, L9, each a FIGURE of its own too). It keeps
    every run in a folder of DIR, so that one that was cut goes on where it stood.
    """
    import torch

    from ray_easgd import figures

    torch.set_num_threads(1)  # on vectors so small, more of them wait for each other
    name = figure.upper()
    if name in ("LEARNING", *figures.learning.STUDIES):
        verdicts = _learn(name, Path(out), size or "small", data)
    elif size or data:
        raise click.UsageError("--size and --data are of learning, L2, L3, L8 and L9 alone.")
    else:
        verdicts = _compute(name, Path(out))
    told = []
    for verdict, seconds in verdicts:
        _tell(verdict, seconds, as_json=as_json)
        told.append(verdict)
    if name in ("ALL", "LEARNING"):
        _sum_up(name.lower(), told, as_json=as_json)
    if not all(verdict["agrees"] for verdict in told):
        sys.exit(1)


def _compute(name: str, folder: Path) -> Iterator[Told]:
    from ray_easgd import figures

    chosen = list(figures.FIGURES) if name == "ALL" else [name]
    if unknown := [name for name in chosen if name not in figures.FIGURES]:
        known = ", ".join((*figures.FIGURES, *figures.learning.STUDIES))
        raise click.BadParameter(
            f"there is no figure {unknown[0]!r}. Known: {known}; or all, or learning.",
            param_hint="FIGURE",
        )
    for one in chosen:
        began = time.perf_counter()
        yield figures.reproduce(figures.FIGURES[one], folder), time.perf_counter() - began


def _learn(name: str, folder: Path, size: str, data: tuple[str, ...]) -> Iterator[Told]:
    from ray_easgd.figures import learning

    whole, began = learning.SIZES[size], time.perf_counter()
    if unknown := [one for one in data if one not in whole.data]:
        raise click.BadParameter(
            f"{unknown[0]!r} is none of {', '.join(whole.data)}.", param_hint="--data"
        )
    chosen = list(learning.STUDIES) if name == "LEARNING" else [name]
    verdicts = learning.learn(
        whole.only(data) if data else whole,
        folder,
        chosen=chosen,
        tell=lambda line: click.echo(line, err=True),
    )
    for verdict in verdicts:
        yield verdict, time.perf_counter() - began


def _tell(verdict: dict[str, Any], seconds: float, *, as_json: bool) -> None:
    word = "agrees" if verdict["agrees"] else "DISAGREES"
    line = f"{verdict['figure']:>4} {word} ({seconds:.1f} s): {verdict['reason']}"
    click.echo(line, err=as_json)
    if as_json:
        click.echo(strict_json.dumps(verdict))


def _sum_up(name: str, verdicts: list[dict[str, Any]], *, as_json: bool) -> None:
    failed = [verdict["figure"] for verdict in verdicts if not verdict["agrees"]]
    reason = f"{len(verdicts) - len(failed)} of {len(verdicts)} figures agree"
    reason += f"; not {', '.join(failed)}" if failed else ""
    click.echo(reason, err=as_json)
    if as_json:
        values = {verdict["figure"]: verdict["values"] for verdict in verdicts}
        whole = {"figure": name, "agrees": not failed, "reason": reason, "values": values}
        click.echo(strict_json.dumps(whole))
