"""The command line's ``chaos``: a training run under faults, its invariants checked."""

from __future__ import annotations

import sys

import click

from ray_easgd import strict_json
from ray_easgd.incidents import KINDS
from ray_easgd.seam import actors_module


@click.command()
@click.argument("words", nargs=-1, metavar="[CONFIG.yaml] [KEY=VALUE ...]")
@click.option(
    "--fault",
    "faults",
    type=click.Choice(KINDS),
    multiple=True,
    help="Only these; may be given several times.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How often each fault is put in.",
)
@click.option(
    "--stop-s",
    type=click.FloatRange(0.1),
    default=5.0,
    show_default=True,
    help="Seconds that a stopped worker is stopped.",
)
@click.option(
    "--compare/--alone",
    default=True,
    show_default=True,
    help="Whether to train once more undisturbed, and compare the accuracies.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0.0, 1.0),
    default=0.02,
    show_default=True,
    help="How far the accuracy may be below that of the undisturbed run.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object.")
def chaos(
    words: tuple[str, ...],
    *,
    faults: tuple[str, ...],
    rounds: int,
    stop_s: float,
    compare: bool,
    tolerance: float,
    as_json: bool,
) -> None:
    """Train while workers, hubs and nodes are killed, stopped and drained; then audit it.

    Without arguments EAMSGD on the digits: 4 workers on 2 nodes of this machine, an aggregator on
    each, one fault after the other; then the same once more without faults. It takes under 10
    minutes. Every key that `train` takes can be set.

    Each child writes down what it sends, and what it is told. In the end the center's vector has
    to be its start plus all pushes that it applied, each once; what was acknowledged has to be
    there; pushes that arrive late or twice have to be refused; nobody may have waited. Ends with
    code 1 where anything of that does not hold.
    """
    from ray_easgd.config import Config, split

    if "" not in sys.path:
        sys.path.insert(0, "")  # module:function means the user's own, in the folder he is in
    config = Config.load(*split(words))
    module = actors_module("chaos")
    options = module.ChaosOptions(
        kinds=faults or KINDS,
        rounds=rounds,
        stop_s=stop_s,
        compare=compare,
        tolerance=tolerance,
    )
    verdict = module.run_chaos(config, options, tell=lambda line: click.echo(line, err=True))
    _show(verdict, as_json=as_json)
    if not all(verdict["invariants"].values()):
        sys.exit(1)


def _show(verdict: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        click.echo(strict_json.dumps(verdict))
        return
    for name, value in verdict.items():
        if name == "invariants" and isinstance(value, dict):
            for invariant, holds in value.items():
                click.echo(f"{'holds ' if holds else 'BROKEN'}  {invariant}")
        elif name == "findings" and isinstance(value, list):
            for finding in value:
                click.echo(f"        {finding}")
        elif name == "faults" and isinstance(value, dict):
            counts = ", ".join(f"{count} {kind}" for kind, count in value.items())
            click.echo(f"faults: {counts}")
        else:
            click.echo(f"{name}: {value}")
