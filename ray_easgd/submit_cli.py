"""The command line's ``submit``: a training run as a job on a cluster."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ray_easgd.errors import BadConfig, BadInput
from ray_easgd.output import api_option, json_option, let_go, say
from ray_easgd.seam import actors_module
from ray_easgd.strict_json import dumps

if TYPE_CHECKING:
    from actors.job_server import Job, JobServer
    from ray_easgd.config import Config


@click.command()
@click.argument("words", nargs=-1, metavar="[CONFIG.yaml] [KEY=VALUE ...]")
@api_option
@click.option(
    "--working-dir",
    metavar="DIR",
    help="What travels to the cluster, as far as .gitignore lets it; default: this folder. With "
    "--working-dir '' nothing does but what CONFIG.yaml sets.",
)
@click.option("--runtime-env", metavar="FILE|JSON", help="Ray's runtime environment of the job.")
@click.option("--no-wait", is_flag=True, help="End once the job is submitted.")
@json_option
def submit(
    words: tuple[str, ...],
    address: str | None,
    working_dir: str | None,
    runtime_env: str | None,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Train a model as a job on a cluster, and follow it; Ctrl-C lets it go on alone.

    Takes what `train` takes. The working directory travels with CONFIG.yaml in it, and so do the
    packages of ray-easgd that are installed here: the cluster needs Python, Ray and PyTorch.
    Submitted again under its run.name, a run that has ended goes on where it was; one that is going
    on is left alone, and this ends with code 2. A run that was finished says so.

    The cluster's token is taken from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.
    """
    module = actors_module("submission")
    given = _runtime_env(runtime_env)
    folder = _folder(given.get("working_dir", ".") if working_dir is None else working_dir, given)
    config, path, words_ = _loaded(words)
    command = module.training_command(path, words_, folder, as_json=as_json)
    server: JobServer = actors_module("job_server").JobServer(address)
    environment = module.job_environment(given, folder)
    job_id, before = module.submit(server, config, command, environment)
    run = config.run.name
    say(f"{run} is submitted to {server.url} as job {job_id}")
    if before is not None:
        say(f"it goes on where job {before.id} left it ({before.state})")
    again = f"ray-easgd logs {run} --follow --address {server.url}"
    found = {"run": run, "job": job_id, "address": server.url}
    if no_wait:
        say(f"follow it with: {again}")
        _show(found | {"state": server.job(job_id).state, "result": None}, as_json)
        return
    lines: deque[str] = deque(maxlen=10)

    def tell(line: str) -> None:
        lines.append(line)
        say(line)

    with let_go(f"the job goes on; follow it with: {again}"):
        job = server.follow(job_id, tell)
    _show(found | {"state": job.state, "result": _result(lines) if as_json else None}, as_json)
    _exit_as(job)


def _loaded(words: Sequence[str]) -> tuple[Config, str | None, Sequence[str]]:
    """The configuration, its file, and the words with the run's name among them."""
    from ray_easgd.config import Config, split
    from ray_easgd.run_folder import check_name, fresh_name

    path, settings = split(words)
    config = Config.load(path, settings)
    if config.address is not None:
        remedy = "Give --address, and leave the key away."
        problem = "a job runs on the cluster that it is submitted to"
        raise BadConfig("address", config.address, problem, remedy)
    if config.run.name is None:
        settings = [*settings, f"run.name={fresh_name(config.algorithm.name)}"]
        config = Config.load(path, settings)
    check_name(str(config.run.name))
    return config, path, settings


def _runtime_env(given: str | None) -> dict[str, Any]:
    """From a file of YAML or JSON, or from JSON itself."""
    import yaml

    if given is None:
        return {}
    problem = "it is neither a file nor a JSON object"
    try:
        text = given if given.lstrip().startswith("{") else Path(given).read_text("utf-8")
        found = yaml.safe_load(text)  # of which JSON is a part
    except OSError as error:
        found, problem = None, str(error.strerror)
    except yaml.YAMLError as error:
        found, problem = None, f"it is not YAML ({error})"
    if not isinstance(found, dict):
        remedy = 'Example: {"pip": ["einops"], "env_vars": {"NAME": "value"}}.'
        raise BadInput("--runtime-env", given, problem, remedy)
    return found


def _folder(given: str, runtime_env: dict[str, Any]) -> Path | None:
    """The folder that travels; None for none, or where a URI is left to Ray."""
    runtime_env.pop("working_dir", None)
    if "://" in given:
        runtime_env["working_dir"] = given
        return None
    if not given:
        return None
    folder = Path(given).resolve()
    if not folder.is_dir():
        raise BadInput("--working-dir", given, "there is no such folder", "Give one, or a URI.")
    return folder


def _result(lines: Iterable[str]) -> Any:
    """What the job's own --json ended with, if it did."""
    last = next((line for line in reversed(list(lines)) if line.strip()), "")
    try:
        return json.loads(last) if last.startswith("{") else None
    except json.JSONDecodeError:
        return None


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(dumps(found))
    else:
        click.echo(f"{found['run']}: {found['state']}")


def _exit_as(job: Job) -> None:
    if job.state != "SUCCEEDED":
        say(job.message.splitlines()[0] if job.message else job.state)
        sys.exit({"STOPPED": 130}.get(job.state, 2 if job.exit_code == 2 else 1))
