"""The runs of a cluster, from any machine that reaches its head's HTTP API.

What the API itself knows it is asked for. For the rest a command of ours runs on the cluster, as a
job of seconds: only processes of the cluster can call an actor.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from actors import runs
from actors import status as near
from actors.cluster import is_url
from actors.doctor import examine
from actors.job_server import COMMAND, Job, JobServer
from actors.runs import CONTROLLER, choose
from actors.status import RunStatus
from actors.submission import job_environment
from ray_easgd.doctor import Diagnosis
from ray_easgd.environment import ray_address, ray_api_address
from ray_easgd.errors import BadInput, EasgdError
from ray_easgd.strict_json import loads


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A run that a cluster knows: by the newest job it was submitted as, or because it is going on.

    ``state`` is the job's, RUNNING of one that is no job.
    """

    run: str
    state: str
    job: Job | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def status(run: str | None, address: str | None) -> RunStatus:
    """As ``actors.status.status``, also where ``address`` is a URL."""
    if (server := _far(address)) is None:
        return near.status(run, address)
    return near.RunStatus.from_dict(ask(server, "status", run))


def watch(run: str | None, address: str | None, show: Callable[[RunStatus], object]) -> None:
    """Give ``show`` a run's status again and again, until the run ends."""
    if (server := _far(address)) is None:
        for found in near.watched(run, address):
            show(found)
    else:
        ask(
            server,
            "status",
            run,
            "--watch",
            tell=lambda answer: show(near.RunStatus.from_dict(answer)),
        )


def scale(run: str | None, workers: int, address: str | None) -> str:
    """As ``actors.runs.scale``, also where ``address`` is a URL."""
    if (server := _far(address)) is None:
        return runs.scale(run, workers, address)
    return str(ask(server, "scale", run, str(workers))["run"])


def stop(run: str | None, address: str | None) -> str:
    """As ``actors.runs.stop``, also where ``address`` is a URL."""
    if (server := _far(address)) is None:
        return runs.stop(run, address)
    return str(ask(server, "stop", run)["run"])


def diagnosis(run: str | None, address: str | None, interval_s: float | None) -> Diagnosis:
    """What the doctor says of it, also where ``address`` is a URL."""
    if (server := _far(address)) is None:
        return Diagnosis.of(examine(run, address, interval_s=interval_s))
    words = [] if interval_s is None else [f"--interval-s={interval_s}"]
    return Diagnosis.from_dict(ask(server, "doctor", run, *words))


def _far(address: str | None) -> JobServer | None:
    """The API to go through, or None where Ray itself can be joined."""
    address = address or ray_address() or ray_api_address()
    return JobServer(address) if is_url(address) else None


def known_runs(server: JobServer) -> list[Known]:
    """All of them, the newest last."""
    newest = {job.run: job for job in server.jobs() if job.run}
    found = [Known(run=run, state=job.state, job=job) for run, job in newest.items()]
    others = going_on(server) - newest.keys()
    return [*(Known(run=run, state="RUNNING", job=None) for run in sorted(others)), *found]


def going_on(server: JobServer) -> set[str]:
    """The names of the runs that are going on."""
    return {
        actor["name"].removesuffix(CONTROLLER)
        for actor in server.actors()
        if actor["state"] == "ALIVE" and str(actor["name"] or "").endswith(CONTROLLER)
    }


def actor_of(server: JobServer, run: str, who: str) -> str:
    """The id of a run's actor: ``worker-3.2`` by its name, ``worker-3`` the newest of that name."""
    prefix = f"{run}:"
    names = {
        str(actor["name"]).removeprefix(prefix): str(actor["actorId"])
        for actor in sorted(server.actors(), key=lambda actor: int(actor["startTime"] or 0))
        if str(actor["name"] or "").startswith(prefix)
    }
    if who in names and "." in who:
        return names[who]
    lives = [actor for name, actor in names.items() if name.partition(".")[0] == who]
    if not lives:
        known = ", ".join(sorted(names)) or "(none)"
        raise BadInput("--actor", who, f"run {run} has no such actor", f"It has: {known}.")
    return lives[-1]


def ask(
    server: JobServer,
    command: str,
    run: str | None,
    *words: str,
    tell: Callable[[dict[str, Any]], object] = lambda answer: None,
) -> dict[str, Any]:
    """Run a command of ours about a run on the cluster; the last JSON object that it prints.

    ``tell`` is given each as it comes. Raises BadInput where there is no such run, EasgdError with
    its message where the command fails.
    """
    name, _ = choose(run, dict.fromkeys(going_on(server), ""))
    job_id = server.submit(
        None,
        shlex.join(["python", "-m", "ray_easgd.cli", command, name, *words, "--json"]),
        runtime_env=job_environment({}, None),
        metadata={COMMAND: command},
    )
    answers: list[dict[str, Any]] = []
    others: list[str] = []

    def take(line: str) -> None:
        if line.startswith("{"):
            answers.append(loads(line))
            tell(answers[-1])
        else:
            others.append(line)

    try:
        ended = server.follow(job_id, take)
    except BaseException:
        server.stop(job_id)  # whoever no longer looks leaves no job behind
        raise
    if ended.state != "SUCCEEDED" or not answers:
        raise EasgdError("\n".join(others[-5:]) or ended.message)
    server.forget(job_id)
    return answers[-1]
