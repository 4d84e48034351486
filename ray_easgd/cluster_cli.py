"""The command line's ``list``, ``logs``, ``status``, ``scale``, ``stop``: a cluster's runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ray_easgd.output import api_option, json_option, let_go, print_drawn, print_table
from ray_easgd.seam import actors_module
from ray_easgd.strict_json import dumps

if TYPE_CHECKING:
    from actors.afar import Known
    from actors.job_server import Job, JobServer
    from actors.status import RunStatus

address_option = click.option(
    "--address",
    help="Of the cluster: http://HEAD:8265 from anywhere, ray://HEAD:10001, or HEAD:6379 on one "
    "of its nodes; default: RAY_ADDRESS, RAY_API_SERVER_ADDRESS, or the one on this machine.",
)


@click.command(name="list")
@api_option
@json_option
def list_runs(address: str | None, as_json: bool) -> None:
    """List the runs of a cluster: those submitted to it, and those that are going on."""
    module = actors_module("afar")
    known: list[Known] = module.known_runs(actors_module("job_server").JobServer(address))
    if as_json:
        click.echo(dumps({"runs": [one.as_dict() for one in known]}))
        return
    columns = ["run", "state", "job", "began", "took", "algorithm", "data", "model"]
    print_table(columns, map(_row, known))


@click.command()
@click.argument("run")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job ends.")
@click.option("--actor", help="Of one process: center, controller, worker-3, worker-3.2 (life 2).")
@click.option("--err", is_flag=True, help="With --actor: its standard error.")
@api_option
@json_option
def logs(
    run: str, follow: bool, actor: str | None, err: bool, address: str | None, as_json: bool
) -> None:
    """Show what a run's newest job has written, or one of its processes."""
    server: JobServer = actors_module("job_server").JobServer(address)
    with let_go("the run goes on"):
        if actor is not None:
            actor_id = actors_module("afar").actor_of(server, run, actor)
            for text in server.actor_log(actor_id, suffix="err" if err else "out", follow=follow):
                click.echo(text, nl=False, err=as_json)
            found: dict[str, Any] = {"run": run, "actor": actor, "id": actor_id}
        else:
            job: Job = actors_module("submission").newest_job(server, run)
            if follow:
                job = server.follow(job.id, lambda line: click.echo(line, err=as_json))
            else:
                click.echo(server.log(job.id), nl=False, err=as_json)
            found = {"run": run, "job": job.id, "state": job.state}
    if as_json:
        click.echo(dumps(found))


@click.command()
@click.argument("run", required=False)
@click.option("--watch", is_flag=True, help="Again and again, until the run ends.")
@address_option
@json_option
def status(run: str | None, watch: bool, address: str | None, as_json: bool) -> None:
    """Draw a run that is going on: each hub with its version, rate, staleness and distance."""
    module = actors_module("afar")
    if not watch:
        found: RunStatus = module.status(run, address)
        if as_json:
            click.echo(dumps(found.as_dict()))
        else:
            _draw(found)
        return
    with let_go("the run goes on"), _drawn_again(as_json) as show:
        module.watch(run, address, show)


@click.command()
@click.argument("run")
@click.argument("workers", metavar="N", type=int)
@address_option
@json_option
def scale(run: str, workers: int, address: str | None, as_json: bool) -> None:
    """Let a run that is going on have N workers: nobody else starts again or waits."""
    name = actors_module("afar").scale(run, workers, address)
    if as_json:
        click.echo(dumps({"run": name, "workers": workers}))
    else:
        click.echo(f"{name}: {workers} workers are wanted from now on")


@click.command()
@click.argument("run", required=False)
@address_option
@json_option
def stop(run: str | None, address: str | None, as_json: bool) -> None:
    """End a run that is going on, or the only one: it is tested, saved, and can be resumed."""
    name = actors_module("afar").stop(run, address)
    if as_json:
        click.echo(dumps({"run": name}))
    else:
        click.echo(f"{name} ends now; the same command with run.name={name} goes on with it")


CLUSTER_COMMANDS = (list_runs, logs, status, scale, stop)


def _row(known: Known) -> dict[str, str]:
    job = known.job
    told = job.metadata if job else {}
    began = job.started_at if job else None
    until = (job.ended_at if job else None) or time.time()
    return {
        "run": known.run,
        "state": known.state,
        "job": job.id if job else "(no job)",
        "began": time.strftime("%Y-%m-%d %H:%M", time.localtime(began)) if began else "",
        "took": f"{until - began:,.0f} s" if began else "",
        "algorithm": told.get("algorithm.name", ""),
        "data": told.get("data", ""),
        "model": told.get("model", ""),
    }


def _draw(found: RunStatus) -> None:
    click.echo(_headline(found))
    print_drawn(_table(found))


def _headline(found: RunStatus) -> str:
    total = f" of {found.total_samples:,}" if found.total_samples else ""
    return f"{found.run}: {found.samples:,}{total} samples at the center"


def _table(found: RunStatus) -> Any:
    from ray_easgd.display.tree import as_table

    return as_table(found.tree)


@contextmanager
def _drawn_again(as_json: bool) -> Iterator[Any]:
    """In place on a terminal, one after the other elsewhere."""
    if as_json:
        yield lambda found: click.echo(dumps(found.as_dict()))
        return
    from rich.console import Console, Group
    from rich.live import Live

    if not sys.stdout.isatty():
        yield _draw
        return
    with Live(console=Console(), auto_refresh=False) as live:
        yield lambda found: live.update(Group(_headline(found), _table(found)), refresh=True)
