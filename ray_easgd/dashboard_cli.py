"""The commands ``ray-easgd dashboard``."""

from __future__ import annotations

from pathlib import Path

import click

from ray_easgd.strict_json import dumps


@click.group()
def dashboard() -> None:
    """See runs in a browser."""


@dashboard.command()
@click.argument("run", required=False)
@click.option("--address", help="Of the Ray cluster; default: the one on this machine.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the page listens.")
@click.option("--port", default=0, help="Default: a free one.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object.")
def live(run: str | None, address: str | None, host: str, port: int, *, as_json: bool) -> None:
    """Serve the page of a run that is going on, or of the only one, and print its link.

    The page is served from the driver's machine until the run ends. Asked for again, the link is
    the same. It only looks, and who has the link, with its token, can look.
    """
    from ray_easgd.seam import actors_module

    link = actors_module("live").live(run, address, host=host, port=port)
    if as_json:
        click.echo(dumps(link.as_dict()))
        return
    click.echo(link.url)
    if link.host in {"127.0.0.1", "localhost", "::1"} and not link.is_here:
        click.echo(
            f"It listens on {link.node} alone. From here: "
            f"ssh -N -L {link.port}:{link.host}:{link.port} {link.node}",
            err=True,
        )
    elif link.host not in {"127.0.0.1", "localhost", "::1"}:
        click.echo("Without TLS: who reads along on the network reads the token too.", err=True)


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
