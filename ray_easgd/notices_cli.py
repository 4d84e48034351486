"""The command ``watch-notices``, which runs on each node beside ``ray start``."""

from __future__ import annotations

import sys

import click

from ray_easgd.errors import BadInput
from ray_easgd.notices import CLOUDS, LINK_LOCAL, Watch, service_for
from ray_easgd.seam import actors_module
from ray_easgd.strict_json import dumps


@click.command()
@click.option(
    "--cloud", type=click.Choice(["auto", *CLOUDS]), default="auto", show_default=True, help="Ours."
)
@click.option("--address", help="Of the Ray cluster; default: the one on this machine.")
@click.option(
    "--metadata-url", default=LINK_LOCAL, show_default=True, help="Of the cloud's service."
)
@click.option(
    "--poll-s",
    type=click.FloatRange(0.0, min_open=True),
    default=2.0,
    show_default=True,
    help="Seconds between looks.",
)
@click.option("--once", is_flag=True, help="Look once, and end also where there is no notice.")
@click.option(
    "--json", "as_json", is_flag=True, help="End with one JSON object on standard output."
)
def watch_notices(
    cloud: str, address: str | None, metadata_url: str, poll_s: float, *, once: bool, as_json: bool
) -> None:
    """Drain this node when the cloud gives notice that it takes the machine.

    Run one on each node beside `ray start`. It ends with code 0 once the node drains: from then on
    there is nothing to watch for, and a supervisor should start it again on failures only.
    """
    if not metadata_url.startswith(("http://", "https://")):
        raise BadInput("--metadata-url", metadata_url, "not an http URL", f"As in {LINK_LOCAL}.")
    watch = Watch(service_for(cloud, metadata_url.rstrip("/")), _tell)
    watcher = actors_module("notice_watcher")
    try:
        drained = watcher.drain_on_notice(
            watch, address=address, poll_s=poll_s, once=once, tell=_tell
        )
    except KeyboardInterrupt:
        _tell("interrupted; nobody watches for notices now")
        sys.exit(130)
    if watch.trouble and not drained:
        raise BadInput(
            "--metadata-url",
            metadata_url,
            f"{watch.cloud}'s metadata service gives no answer there ({watch.trouble})",
            "See --cloud and --metadata-url.",
        )
    if as_json:
        found = drained.as_dict() if drained else {}
        click.echo(dumps({"cloud": watch.cloud, "drained": bool(drained), **found}))


def _tell(line: str) -> None:
    click.echo(line, err=True)
