"""A cloud's metadata service of our own, on a loopback port."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

INSTANCE = "/computeMetadata/v1/instance"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"

Refuse = Callable[[Mapping[str, str]], int | None]


@dataclass
class Stand:
    """``answers`` by path, query included; 404 where there is none."""

    url: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    refuses: Refuse = lambda headers: None
    token: str | None = None  # what AWS hands out and wants to see
    asked: list[str] = field(default_factory=list)

    def reply(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        self.asked.append(f"{method} {path}")
        if self.token is not None and (method, path) == ("PUT", "/latest/api/token"):
            lasts = headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
            return (200, self.token) if lasts.isdecimal() else (400, "")
        refused = self.refuses(headers)
        if refused:
            return refused, ""
        if method == "GET" and path in self.answers:
            return 200, self.answers[path]
        return 404, ""

    def aws(self) -> Stand:
        self.token = "a-token"
        self.refuses = lambda h: 401 if h.get("X-aws-ec2-metadata-token") != self.token else None
        return self

    def gcp(self) -> Stand:
        self.headers = {"Metadata-Flavor": "Google"}
        self.refuses = lambda h: 403 if h.get("Metadata-Flavor") != "Google" else None
        self.answers = {
            f"{INSTANCE}/id": "7",
            f"{INSTANCE}/preempted": "FALSE",
            f"{INSTANCE}/maintenance-event": "NONE",
        }
        return self

    def azure(self) -> Stand:
        self.refuses = lambda h: 400 if h.get("Metadata") != "true" else None
        self.answers = {NAME: "fleet_0", EVENTS: azure_events()}
        return self


def azure_events(*events: Mapping[str, object]) -> str:
    return json.dumps({"DocumentIncarnation": 1, "Events": events})


@contextmanager
def standing() -> Iterator[Stand]:
    """A service that answers until the block ends."""
    stand = Stand()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            status, body = stand.reply(self.command, self.path, self.headers)  # type: ignore[arg-type]
            self.send_response(status)
            for name, value in stand.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing to read there."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stand.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stand
        finally:
            server.shutdown()
            thread.join()
