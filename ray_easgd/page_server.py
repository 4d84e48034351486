"""A small HTTP server for one page that only looks: GET alone, behind a token."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_urlsafe
from socket import AF_INET, AF_INET6
from socketserver import TCPServer
from threading import BoundedSemaphore, Condition, Event, Lock, Thread
from typing import Any
from urllib.parse import parse_qs

from ray_easgd.errors import BadInput

FRESH_S = 1.0  # a page younger than this is shown again
_MOST_AT_ONCE = 64
_IDLE_S = 5.0
_LAST_WORD_S = 1.0
_ENDED = "The run has ended."


class PageServer:
    """Serves ``render()`` at ``/`` until ``close``; renders only when asked, at most once a second.

    ``/end`` is answered when the server closes, which is how a page learns of it, or after
    ``wait_s`` with nothing: whoever went away without a word keeps no place for long. ``policy``
    is the page's Content-Security-Policy. Raises BadInput where it cannot listen.
    """

    def __init__(
        self,
        render: Callable[[], str],
        *,
        policy: str,
        host: str,
        port: int,
        wait_s: float = 15.0,
    ) -> None:
        self.token, self._wait_s = token_urlsafe(24), wait_s
        self._cached, self._policy = Cached(render), policy
        self._ended = Event()
        self._under_way, self._quiet = 0, Condition()
        handler = type("Handler", (_Handler,), {"page": self})
        try:
            self._server = _server_class(host)((host, port), handler)
        except (OSError, OverflowError) as error:
            raise BadInput(
                "--port" if port else "--host",
                port or host,
                f"the page cannot be served there ({error})",
                "Leave --port away for a free one; --host is an address of the driver's machine.",
            ) from error
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell who watches that the run has ended, and free the port. Harmless when repeated."""
        self._server.shutdown()
        self._ended.set()
        with self._quiet:  # a line that is cut keeps nobody
            self._quiet.wait_for(lambda: not self._under_way, timeout=_LAST_WORD_S)
        self._server.server_close()

    # -- what a handler asks -------------------------------------------------------------------

    def answer(self, path: str) -> tuple[HTTPStatus, str, str]:
        """Status, type and text for a path of somebody who has the token."""
        if path == "/":
            return HTTPStatus.OK, "text/html", self._cached.page()
        if path == "/end":
            if self._ended.wait(self._wait_s):
                return HTTPStatus.OK, "text/plain", _ENDED
            return HTTPStatus.NO_CONTENT, "text/plain", ""
        return HTTPStatus.NOT_FOUND, "text/plain", "There is nothing here but the page at /."

    @contextmanager
    def answering(self) -> Iterator[None]:
        """``close`` waits for what happens inside."""
        with self._quiet:
            self._under_way += 1
        try:
            yield
        finally:
            with self._quiet:
                self._under_way -= 1
                self._quiet.notify_all()

    @property
    def num_under_way(self) -> int:
        """Answers that are being given, those at ``/end`` included."""
        return self._under_way

    def knows(self, token: str) -> bool:
        """Whether that is the token; takes as long whatever was given."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    @property
    def headers(self) -> dict[str, str]:
        """Of every answer."""
        return {
            "Content-Security-Policy": self._policy,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }


class Cached:
    """What ``render`` gave last, made anew when it is asked for and older than ``FRESH_S``."""

    def __init__(
        self, render: Callable[[], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._render, self._clock, self._lock = render, clock, Lock()
        self._page, self._made_at = "", -float("inf")

    def page(self) -> str:
        """Several who ask at once get one and the same."""
        with self._lock:
            if self._clock() - self._made_at >= FRESH_S:
                self._page = self._render()
                self._made_at = self._clock()
            return self._page


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # an idle line would keep the port for a while

    def __init__(self, *args: Any) -> None:
        self._room = BoundedSemaphore(_MOST_AT_ONCE)
        super().__init__(*args)

    def server_bind(self) -> None:
        """Without asking for the host's name, as HTTPServer does: that may take seconds."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no news."""


def _server_class(host: str) -> type[_Server]:
    return type("Server", (_Server,), {"address_family": AF_INET6 if ":" in host else AF_INET})


class _Handler(BaseHTTPRequestHandler):
    page: PageServer
    server_version, sys_version = "ray-easgd", ""
    timeout = _IDLE_S

    def do_GET(self) -> None:
        """The page, to who has the token."""
        path, _, query = self.path.partition("?")
        if not self.page.knows(self._token(query)):
            self._send(
                HTTPStatus.UNAUTHORIZED,
                "text/plain",
                "This page needs its token: take the whole link that `ray-easgd dashboard live` "
                "prints.",
            )
            return
        with self.page.answering():
            self._send(*self.page.answer(path))

    def __getattr__(self, name: str) -> Any:
        """Every other method is refused."""
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        status = HTTPStatus.METHOD_NOT_ALLOWED
        self._send(status, "text/plain", "This page can only be looked at.", {"Allow": "GET"})

    def _token(self, query: str) -> str:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        return given if scheme == "Bearer" else parse_qs(query).get("token", [""])[0]

    def _send(
        self, status: HTTPStatus, kind: str, words: str, more: dict[str, str] | None = None
    ) -> None:
        body = words.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (self.page.headers | (more or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nobody reads of each look, and the line would hold the token."""
