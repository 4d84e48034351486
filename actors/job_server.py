"""A cluster's jobs, over its head's HTTP API: as its dashboard shows them, from any machine.

Our jobs tell by their metadata what they are: ``RUN`` is the run's name, ``COMMAND`` what it does.
"""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import requests
from aiohttp import ClientError
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from actors.cluster import api_of, refused
from ray_easgd.environment import ray_api_at, ray_token
from ray_easgd.errors import BadCluster, BadInput, EasgdError
from ray_easgd.version import __version__

RUN, COMMAND, VERSION = "run.name", "command", "ray-easgd"
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_CODES = {"Authentication required": "401", "Authentication failed": "403"}  # Ray's words for them
_CHATTER = (
    *("ray._private.runtime_env", "ray.dashboard.modules.dashboard_sdk"),
    "ray.dashboard.modules.job.sdk",
)
_ANSWER_S = 30.0
_AGAIN_AFTER_S = 1.0

Tell = Callable[[str], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """``state`` in Ray's words; times in seconds since 1970. ``exit_code`` of its command."""

    id: str
    run: str
    state: str
    message: str
    started_at: float | None
    ended_at: float | None
    exit_code: int | None
    metadata: Mapping[str, str]

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state in ENDED

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class JobServer:
    """The head's HTTP API. Raises BadCluster where it does not answer or does not let us in."""

    def __init__(self, address: str | None) -> None:
        self.url = api_of(address)
        for chatter in _CHATTER:
            logging.getLogger(chatter).setLevel(logging.ERROR)
        token, _ = ray_token()
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        with self._asked(), ray_api_at(self.url):
            self._client = JobSubmissionClient(self.url, headers=dict(self._headers))

    # -- jobs ------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """All jobs that were submitted by us, the oldest first."""
        with self._asked():
            found = self._client.list_jobs()
        ours = (_as_job(job) for job in found if VERSION in (job.metadata or {}))
        return sorted(ours, key=lambda job: job.started_at or 0.0)

    def job(self, job_id: str) -> Job:
        """As it is now."""
        with self._asked():
            return _as_job(self._client.get_job_info(job_id))

    def submit(
        self,
        job_id: str | None,
        command: str,
        *,
        runtime_env: Mapping[str, Any],
        metadata: Mapping[str, str],
    ) -> str:
        """Start a command as a job, under an id that none had before; returns its id."""
        with self._asked():
            try:
                started = self._client.submit_job(
                    entrypoint=command,
                    submission_id=job_id,
                    runtime_env=dict(runtime_env),
                    metadata={VERSION: __version__, **metadata},
                )
                return str(started)
            except (RuntimeError, ValueError, TypeError) as error:
                if job_id is not None and "already exists" in str(error):
                    remedy = "Look at it with `ray-easgd list`, or choose another run.name."
                    problem = f"a job of that id is there already at {self.url}"
                    raise BadInput("run.name", job_id, problem, remedy) from None
                problem = f"{self.url} refuses the job: {_first_line(error)}"
                remedy = "Mend --working-dir or --runtime-env; .gitignore keeps files at home."
                raise BadInput("job", command, problem, remedy) from None

    def stop(self, job_id: str) -> None:
        """Ask its command to end, by SIGTERM."""
        with self._asked():
            self._client.stop_job(job_id)

    def forget(self, job_id: str) -> None:
        """Take an ended job from the list."""
        with self._asked():
            self._client.delete_job(job_id)

    # -- logs ------------------------------------------------------------------------------

    def log(self, job_id: str) -> str:
        """All that it has written so far."""
        with self._asked():
            return str(self._client.get_job_logs(job_id))

    def follow(self, job_id: str, tell: Tell) -> Job:
        """Give ``tell`` each line that the job has written and writes, until it ends."""
        told, begun = 0, ""

        async def tail() -> None:
            nonlocal told, begun
            seen = 0
            async for text in self._client.tail_job_logs(job_id):
                seen += len(text)
                if seen > told:
                    *lines, begun = (begun + text[told - seen :]).split("\n")
                    told = seen
                    for line in lines:
                        tell(line)

        while True:
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="ssl=None is deprecated")  # Ray's own
                    asyncio.run(tail())
            except (RuntimeError, OSError, ClientError):
                time.sleep(_AGAIN_AFTER_S)  # the connection broke: proxies end those that are idle
            if (job := self.job(job_id)).has_ended:
                if begun:
                    tell(begun)
                return job

    def actor_log(self, actor_id: str, *, suffix: str, follow: bool) -> Iterator[str]:
        """What an actor's process has written to ``out`` or ``err``; ``follow``: and writes."""
        query = {"actor_id": actor_id, "suffix": suffix, "lines": "-1"}
        media, patience = ("stream", (_ANSWER_S, None)) if follow else ("file", _ANSWER_S)
        with (
            self._asked(),
            self._get(f"/api/v0/logs/{media}", query, stream=True, timeout=patience) as answer,
        ):
            answer.encoding = "utf-8"
            for text in answer.iter_content(chunk_size=None, decode_unicode=True):
                yield str(text)

    # -- actors ----------------------------------------------------------------------------

    def actors(self) -> list[dict[str, Any]]:
        """Every actor that Ray remembers, as its dashboard knows it."""
        with self._asked(), self._get("/logical/actors", {"nocache": "1"}) as answer:
            return list(answer.json()["data"]["actors"].values())

    # -- shell -----------------------------------------------------------------------------

    def _get(self, path: str, query: Mapping[str, str], **how: Any) -> requests.Response:
        how.setdefault("timeout", _ANSWER_S)
        answer = requests.get(self.url + path, params=query, headers=self._headers, **how)
        if answer.status_code in (401, 403):
            raise AuthenticationError(f"{answer.status_code}: {answer.text}")
        if not answer.ok:
            raise EasgdError(f"{self.url}{path} answers {answer.status_code}: {answer.text}")
        return answer

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Errors of the way there, as ours."""
        try:
            yield
        except AuthenticationError as error:
            said = error.message.splitlines()[0]
            for words, code in _CODES.items():
                said = said.replace(words, code)
            raise refused(self.url, said) from None
        except OSError as error:  # requests' own errors are
            raise BadCluster(
                "address",
                self.url,
                f"no head answers there ({_first_line(error)})",
                "Give the URL of its dashboard, as http://HEAD:8265.",
            ) from None
        except RuntimeError as error:
            raise EasgdError(f"{self.url}: {_first_line(error)}") from None


def _as_job(known: JobDetails) -> Job:
    metadata = known.metadata or {}
    return Job(
        id=known.submission_id or known.job_id or "",
        run=metadata.get(RUN, ""),
        state=str(known.status.value),
        message=known.message or "",
        started_at=_seconds(known.start_time),
        ended_at=_seconds(known.end_time),
        exit_code=known.driver_exit_code,
        metadata=metadata,
    )


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds else None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
