"""A run as a job: what it runs, what travels with it, and one job at a time under a run's name.

The n-th job of run NAME is ``NAME.n``. Ray takes each id once, so of two who submit at the same
moment one is refused; a run that has ended is gone on with by the next.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import actors
import ray_easgd
from actors.job_server import COMMAND, RUN, Job, JobServer
from ray_easgd.config import Config, as_words
from ray_easgd.errors import BadInput

_TIME_TO_END_S = "60"  # for a last exchange and a checkpoint; Ray's own is 3


def submit(
    server: JobServer, config: Config, command: str, runtime_env: Mapping[str, Any]
) -> tuple[str, Job | None]:
    """Start a run as a job; its id, and the job before it, whose run this one goes on with.

    Raises BadInput where that one has not ended.
    """
    name = config.run.name
    assert name is not None
    earlier = jobs_of(server, name)
    for job in earlier:
        if not job.has_ended:
            raise BadInput(
                "run.name",
                name,
                f"job {job.id} at {server.url} is at it ({job.state})",
                f"Look with `ray-easgd logs {name} --follow`, end it with `ray-easgd stop {name}`, "
                "or choose another run.name.",
            )
    started = server.submit(
        f"{quote(name, safe='').replace('%', '=')}.{len(earlier) + 1}",
        command,
        runtime_env=runtime_env,
        metadata={COMMAND: "train", **_told_of(config)},
    )
    return started, earlier[-1] if earlier else None


def jobs_of(server: JobServer, run: str) -> list[Job]:
    """All that were submitted for a run, the oldest first."""
    return [job for job in server.jobs() if job.run == run]


def newest_job(server: JobServer, run: str) -> Job:
    """Of that run; BadInput where it was never submitted."""
    if jobs := jobs_of(server, run):
        return jobs[-1]
    known = ", ".join(sorted({job.run for job in server.jobs() if job.run})) or "(none)"
    problem = f"no job at {server.url} has run it"
    raise BadInput("RUN", run, problem, f"Submitted were: {known}.")


def training_command(
    path: str | None, words: Sequence[str], folder: Path | None, *, as_json: bool
) -> str:
    """What the job runs. The file goes with the working directory; else what it sets goes here."""
    program = ["jobs.train"] if is_checkout(folder) else ["ray_easgd.cli", "train"]
    inside = _inside(path, folder) if path and folder else None
    given = [inside] if inside else list(as_words(path)) if path else []
    return shlex.join(["python", "-m", *program, *given, *words, *["--json"] * as_json])


def job_environment(given: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """A runtime environment whose packages of ours are those that submit it."""
    environment = dict(given)
    if folder is not None:
        environment["working_dir"] = str(folder)
    if not is_checkout(folder):
        environment["py_modules"] = [*(given.get("py_modules") or ()), *_own_packages()]
    variables = given.get("env_vars") or {}
    environment["env_vars"] = {"RAY_JOB_STOP_WAIT_TIME_S": _TIME_TO_END_S, **variables}
    return environment


def is_checkout(folder: Path | None) -> bool:
    """Whether our packages and jobs are there."""
    parts = ("ray_easgd/cli.py", "actors/worker.py", "jobs/train.py")
    return folder is not None and all((folder / part).is_file() for part in parts)


def _inside(path: str, folder: Path) -> str | None:
    absolute = Path(path).resolve()
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else None


def _own_packages() -> Iterator[str]:
    for package in (ray_easgd, actors):
        yield str(Path(str(package.__file__)).parent)


def _told_of(config: Config) -> dict[str, str]:
    """What Ray's dashboard shows of the job."""
    return {
        RUN: str(config.run.name),
        "run.storage": config.run.storage,
        "algorithm.name": config.algorithm.name,
        "data": config.data,
        "model": config.model,
        "fleet.workers": str(config.fleet.workers or ""),
    }
