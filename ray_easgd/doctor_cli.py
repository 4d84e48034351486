"""The command line's ``doctor``: why a run that is going on is slow or stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ray_easgd.strict_json import dumps

if TYPE_CHECKING:
    from ray_easgd.doctor import Diagnosis


@click.command()
@click.argument("run", required=False)
@click.option(
    "--address",
    help="Of the cluster: http://HEAD:8265 from anywhere, or HEAD:6379 on one of its nodes; "
    "default: RAY_ADDRESS, RAY_API_SERVER_ADDRESS, or the one on this machine.",
)
@click.option(
    "--interval-s",
    type=click.FloatRange(0.1),
    help="Between its two looks; default: 5, and more where steps are slow.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object.")
def doctor(
    run: str | None, *, address: str | None, interval_s: float | None, as_json: bool
) -> None:
    """Say why a run that is going on is slow or stuck: what, the evidence, and what to do next.

    Looks at it twice, and changes nothing. Who does not answer is not waited for: it is done
    within half a minute or so. Ends with code 0 whether or not anything is wrong; with --json the
    findings are in "findings", none of them where all is well.
    """
    from ray_easgd.seam import actors_module

    found: Diagnosis = actors_module("afar").diagnosis(run, address, interval_s)
    if as_json:
        click.echo(dumps(found.as_dict()))
        return
    for line in found.as_lines():
        click.echo(line)
