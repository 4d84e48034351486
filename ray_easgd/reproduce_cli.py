"""The command line's ``reproduce``: the thesis's figures again, each with a verdict."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from ray_easgd import strict_json


@click.command()
@click.argument("figure")
@click.option(
    "--out", type=click.Path(file_okay=False), required=True, help="A folder for what is written."
)
@click.option(
    "--json", "as_json", is_flag=True, help="An object a figure, and one of all as the last line."
)
def reproduce(figure: str, out: str, *, as_json: bool) -> None:
    """Compute FIGURE (E1 to E21) or all of them, and say whether it agrees.

    Writes FIGURE.png, FIGURE.csv and FIGURE.json. A figure agrees where the closed form, a
    simulated fleet of the runtime's own algorithm objects and the numbers of docs/mathematics.md
    are the same. Ends with code 1 where one does not.
    """
    import torch

    from ray_easgd import figures

    torch.set_num_threads(1)  # on vectors so small, more of them wait for each other
    chosen = list(figures.FIGURES) if figure == "all" else [figure.upper()]
    if unknown := [name for name in chosen if name not in figures.FIGURES]:
        known = ", ".join(figures.FIGURES)
        raise click.BadParameter(
            f"there is no figure {unknown[0]!r}. Known: {known}; or all.", param_hint="FIGURE"
        )
    verdicts = []
    for name in chosen:
        began = time.perf_counter()
        verdict = figures.reproduce(figures.FIGURES[name], Path(out))
        verdicts.append(verdict)
        _tell(verdict, time.perf_counter() - began, as_json=as_json)
    if figure == "all":
        _sum_up(verdicts, as_json=as_json)
    if not all(verdict["agrees"] for verdict in verdicts):
        sys.exit(1)


def _tell(verdict: dict[str, Any], seconds: float, *, as_json: bool) -> None:
    word = "agrees" if verdict["agrees"] else "DISAGREES"
    line = f"{verdict['figure']:>4} {word} ({seconds:.1f} s): {verdict['reason']}"
    click.echo(line, err=as_json)
    if as_json:
        click.echo(strict_json.dumps(verdict))


def _sum_up(verdicts: list[dict[str, Any]], *, as_json: bool) -> None:
    failed = [verdict["figure"] for verdict in verdicts if not verdict["agrees"]]
    reason = f"{len(verdicts) - len(failed)} of {len(verdicts)} figures agree"
    reason += f"; not {', '.join(failed)}" if failed else ""
    click.echo(reason, err=as_json)
    if as_json:
        values = {verdict["figure"]: verdict["values"] for verdict in verdicts}
        whole = {"figure": "all", "agrees": not failed, "reason": reason, "values": values}
        click.echo(strict_json.dumps(whole))
