"""Word from a cloud that this machine will be taken away, as its metadata service tells it.

One class a cloud, each with one question, ``look(now)``. Raises OSError where the service does
not answer and ValueError where it answers with something else; ``Watch`` lives with both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from ray_easgd.errors import BadInput

LINK_LOCAL = "http://169.254.169.254"
"""Where the metadata service of each of these clouds answers."""

_ANSWER_S = 5.0
_PROBE_S = 1.0
_DIRECT = build_opener(ProxyHandler({}))  # nobody else may answer for this machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """``cloud`` takes this machine away at ``gone_at``; advisory: it may, at no known time."""

    cloud: str
    reason: str
    gone_at: datetime | None

    @property
    def advisory(self) -> bool:
        return self.gone_at is None

    def left_s(self, now: datetime) -> float:
        """How long the machine is still there; 1 where it may go at any moment."""
        assert self.gone_at is not None, "an advisory notice has no deadline"
        return max(1.0, (self.gone_at - now).total_seconds())


class Service(Protocol):
    """A cloud's metadata service."""

    @property
    def cloud(self) -> str: ...
    def answers(self) -> bool:
        """Whether this machine is in that cloud. Never raises, and takes a second or two."""
        ...

    def look(self, now: datetime) -> Notice | None:
        """What is to come, if anything. Raises OSError, ValueError."""
        ...


class Aws:
    """IMDSv2: a token first, then the spot instance's ``instance-action``; 404 means none.

    A rebalance recommendation says that an interruption has become likely: advisory.
    """

    cloud = "AWS"
    usual = timedelta(seconds=120)
    _TOKEN = "X-aws-ec2-metadata-token"
    _TOKEN_S = "21600"

    def __init__(self, url: str = LINK_LOCAL) -> None:
        self._url, self._token = url, ""

    def answers(self) -> bool:
        try:
            self._renew(_PROBE_S)
        except (OSError, ValueError):
            return False
        return bool(self._token)

    def look(self, now: datetime) -> Notice | None:
        action = self._get("spot/instance-action")
        if action is not None:
            said = _object(action)
            if "action" not in said:
                raise ValueError(f"instance-action is {action[:80]!r}")
            gone_at = _time(said.get("time")) or now + self.usual
            reason = f"spot interruption: {said['action']}"
            return Notice(cloud=self.cloud, reason=reason, gone_at=gone_at)
        if self._get("events/recommendations/rebalance") is not None:
            return Notice(cloud=self.cloud, reason="rebalance recommendation", gone_at=None)
        return None

    def _get(self, path: str) -> str | None:
        """The answer under ``/latest/meta-data/``; None where there is no such thing."""
        for _ in ("with the token that we have", "with a new one"):
            if not self._token:
                self._renew(_ANSWER_S)
            answer = _ask(f"{self._url}/latest/meta-data/{path}", {self._TOKEN: self._token})
            if answer.status != 401:
                break
            self._token = ""
        return None if answer.status == 404 else answer.text()

    def _renew(self, timeout_s: float) -> None:
        header = {f"{self._TOKEN}-ttl-seconds": self._TOKEN_S}
        url = f"{self._url}/latest/api/token"
        self._token = _ask(url, header, method="PUT", timeout_s=timeout_s).text().strip()


class Gcp:
    """``preempted`` turns TRUE when a spot machine gets its 30 seconds; ``maintenance-event``
    announces the end of a machine that cannot be moved. Live migrations are no notice."""

    cloud = "GCP"
    usual = timedelta(seconds=30)
    maintenance = timedelta(seconds=60)
    _FLAVOR = ("Metadata-Flavor", "Google")

    def __init__(self, url: str = LINK_LOCAL) -> None:
        self._url = f"{url}/computeMetadata/v1/instance"

    def answers(self) -> bool:
        try:
            answer = _ask(f"{self._url}/id", dict([self._FLAVOR]), timeout_s=_PROBE_S)
        except (OSError, ValueError):
            return False
        return answer.headers.get(self._FLAVOR[0]) == self._FLAVOR[1]

    def look(self, now: datetime) -> Notice | None:
        if self._says("preempted", {"TRUE", "FALSE"}) == "TRUE":
            return Notice(cloud=self.cloud, reason="preemption", gone_at=now + self.usual)
        coming = self._says("maintenance-event")
        if coming.startswith("TERMINATE"):
            reason = "host maintenance that ends it"
            return Notice(cloud=self.cloud, reason=reason, gone_at=now + self.maintenance)
        return None

    def _says(self, key: str, expected: set[str] | None = None) -> str:
        said = _ask(f"{self._url}/{key}", dict([self._FLAVOR])).text().strip()
        if expected and said not in expected:
            raise ValueError(f"{key} is {said[:80]!r}")
        return said


class Azure:
    """Scheduled Events. They go to every machine of a scale set, so only those that name ours
    count; a Freeze is over in seconds and takes nothing away."""

    cloud = "Azure"
    usual = timedelta(seconds=30)
    ends_it = frozenset({"Preempt", "Terminate", "Reboot", "Redeploy"})
    _NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
    _EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
    _HEADER: Mapping[str, str] = {"Metadata": "true"}

    def __init__(self, url: str = LINK_LOCAL) -> None:
        self._url, self._name = url, ""

    def answers(self) -> bool:
        try:
            self._name = self._own_name(_PROBE_S)
        except (OSError, ValueError):
            return False
        return bool(self._name)

    def look(self, now: datetime) -> Notice | None:
        self._name = self._name or self._own_name(_ANSWER_S)
        events = _object(_ask(self._url + self._EVENTS, self._HEADER).text()).get("Events")
        if not isinstance(events, list):
            raise ValueError(f"Events is {events!r}")  # noqa: TRY004
        notices = [self._notice(event, now) for event in events if self._ends_us(event)]
        return min(notices, key=lambda notice: notice.left_s(now), default=None)

    def _ends_us(self, event: Any) -> bool:
        if not isinstance(event, dict) or not isinstance(event.get("Resources"), list):
            raise ValueError(f"an event is {event!r}")  # noqa: TRY004
        return event.get("EventType") in self.ends_it and self._name in event["Resources"]

    def _notice(self, event: Mapping[str, Any], now: datetime) -> Notice:
        """``NotBefore`` is empty once the event has begun."""
        gone_at = _time(event.get("NotBefore"))
        if gone_at is None:
            gone_at = now if event.get("EventStatus") == "Started" else now + self.usual
        return Notice(cloud=self.cloud, reason=event["EventType"], gone_at=gone_at)

    def _own_name(self, timeout_s: float) -> str:
        return _ask(self._url + self._NAME, self._HEADER, timeout_s=timeout_s).text().strip()


CLOUDS: Mapping[str, Callable[[str], Service]] = {"aws": Aws, "gcp": Gcp, "azure": Azure}


def service_for(cloud: str, url: str = LINK_LOCAL) -> Service:
    """Of the cloud of that name, ``auto`` for the one that we are in.

    Raises BadInput where no cloud's service answers.
    """
    found = detect(url) if cloud == "auto" else CLOUDS[cloud](url)
    if found is None:
        raise BadInput(
            "--cloud",
            cloud,
            f"no cloud's metadata service answers at {url}",
            f"Give one of {', '.join(CLOUDS)} if this is one of them. A container reaches AWS's "
            "only with a hop limit of 2; a pod on Kubernetes needs no watcher.",
        )
    return found


def detect(url: str = LINK_LOCAL) -> Service | None:
    """The service of the cloud that this machine is in, or None."""
    services = (make(url) for make in CLOUDS.values())
    return next((service for service in services if service.answers()), None)


class Watch:
    """Looks again and again, and says each thing once. ``tell`` takes a line for a person.

    ``trouble`` is what the last look met instead of an answer, or None.
    """

    def __init__(self, service: Service, tell: Callable[[str], None]) -> None:
        self._service, self._tell = service, tell
        self._advised = False
        self.cloud = service.cloud
        self.trouble: str | None = None

    def look(self, now: datetime) -> Notice | None:
        """A notice by which this machine goes, if there is one."""
        try:
            notice = self._service.look(now)
        except (OSError, ValueError) as error:
            if self.trouble is None:
                self._tell(f"{self.cloud}'s metadata service gives no answer ({error}); asking on.")
            self.trouble = str(error)
            return None
        if self.trouble is not None:
            self._tell(f"{self.cloud}'s metadata service answers again.")
        self.trouble = None
        if notice is None or not notice.advisory:
            return notice
        if not self._advised:
            self._tell(f"{self.cloud} may reclaim this machine soon ({notice.reason}); going on.")
        self._advised = True
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]

    def text(self) -> str:
        if self.status != 200:
            raise ConnectionError(f"it answers with status {self.status}")
        return self.body.decode()


def _ask(
    url: str, headers: Mapping[str, str], *, method: str = "GET", timeout_s: float = _ANSWER_S
) -> _Answer:
    request = Request(url, headers=dict(headers), method=method)
    try:
        with _DIRECT.open(request, timeout=timeout_s) as reply:
            return _Answer(status=reply.status, body=reply.read(), headers=dict(reply.headers))
    except HTTPError as refusal:
        with refusal:
            return _Answer(status=refusal.code, body=b"", headers=dict(refusal.headers))
    except HTTPException as error:
        raise ConnectionError(f"it breaks off: {error!r}") from error


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, found {text[:80]!r}")  # noqa: TRY004
    return found


def _time(text: object) -> datetime | None:
    """As ISO 8601 (AWS) or RFC 1123 (Azure) write it; None where it is neither."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(str(text))
        except ValueError:
            continue
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None
