"""The commands ``ray-easgd dashboard``."""

from __future__ import annotations

from pathlib import Path

import click

from ray_easgd.strict_json import dumps


@click.group()
def dashboard() -> None:
    """See runs in a browser."""


@dashboard.command()
@click.option(
    "--to",
    metavar="FOLDER",
    help="Where your Grafana provisions boards from; default: where that of Ray's newest session "
    "on this machine does.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="End with one JSON object on standard output."
)
def install(to: str | None, as_json: bool) -> None:
    """Put our Grafana board, and alert rules for Prometheus, where they are found.

    Ray empties the folder of a session when its head starts: install again after that.
    """
    from ray_easgd.dashboard.install import folder_of_session
    from ray_easgd.dashboard.install import install as put

    installed = put(Path(to).expanduser().absolute() if to else folder_of_session())
    if as_json:
        click.echo(dumps({"board": str(installed.board), "alerts": str(installed.alerts)}))
        return
    click.echo(f"board: {installed.board}")
    click.echo("  Grafana shows it within 10 seconds if it provisions boards from that folder")
    click.echo(f"alert rules: {installed.alerts}")
    click.echo(f'  rule_files: ["{installed.alerts}"]  in prometheus.yml, and load that again')
