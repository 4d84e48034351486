"""The server of a page that can only be looked at, over real connections."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from threading import Thread

import pytest

from ray_easgd.errors import BadInput
from ray_easgd.page_server import FRESH_S, Cached, PageServer

POLICY = "default-src 'none'"


@pytest.fixture
def server() -> Iterator[PageServer]:
    served = PageServer(lambda: "<p>Größe</p>", policy=POLICY, host="127.0.0.1", port=0)
    yield served
    served.close()


def ask(
    server: PageServer, path: str, *, method: str = "GET", token: str | None = None
) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def test_the_link_shows_the_page(server: PageServer) -> None:
    answer = ask(server, f"/?token={server.token}")
    assert answer.status == 200
    assert answer.read().decode() == "<p>Größe</p>"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert ask(server, "/", token=server.token).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=wrong", "/end", "/nothing", "/?token=%ff", "//["]
)
def test_without_the_token_there_is_nothing_to_see(server: PageServer, path: str) -> None:
    answer = ask(server, path)
    assert answer.status == 401
    said = answer.read().decode()
    assert "token" in said
    assert server.token not in said
    assert ask(server, path, token=server.token[:-1]).status == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "LOOK"])
def test_nothing_but_looking_is_allowed(server: PageServer, method: str) -> None:
    answer = ask(server, "/", method=method, token=server.token)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET"


def test_there_is_one_page(server: PageServer) -> None:
    assert ask(server, "/other", token=server.token).status == 404
    assert ask(server, "/../etc/passwd", token=server.token).status == 404


@pytest.mark.parametrize("path", ["/?token=TOKEN", "/", "/other?token=TOKEN"])
def test_every_answer_is_told_to_keep_to_itself(server: PageServer, path: str) -> None:
    headers = ask(server, path.replace("TOKEN", server.token)).headers
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


def test_who_watches_hears_of_the_end_and_the_port_is_free_again(server: PageServer) -> None:
    heard: list[str] = []

    def watch() -> None:
        heard.append(ask(server, f"/end?token={server.token}").read().decode())

    idle = socket.create_connection(("127.0.0.1", server.port))  # keeps nobody
    watcher = Thread(target=watch)
    watcher.start()
    while not server.num_under_way and watcher.is_alive():
        assert ask(server, "/", token=server.token).status == 200
    server.close()
    watcher.join()
    assert heard == ["The run has ended."]
    idle.close()
    again = PageServer(lambda: "", policy=POLICY, host="127.0.0.1", port=server.port)
    again.close()


def test_who_waits_for_the_end_is_not_kept_waiting_for_ever() -> None:
    server = PageServer(lambda: "", policy=POLICY, host="127.0.0.1", port=0, wait_s=0.0)
    answer = ask(server, "/end", token=server.token)
    server.close()
    assert (answer.status, answer.read()) == (204, b"")


def test_a_port_that_is_taken_is_refused_by_name(server: PageServer) -> None:
    with pytest.raises(BadInput, match="free one") as refused:
        PageServer(lambda: "", policy=POLICY, host="127.0.0.1", port=server.port)
    assert (refused.value.field, refused.value.value) == ("--port", server.port)


def test_a_host_of_another_machine_is_refused_by_name() -> None:
    with pytest.raises(BadInput) as refused:
        PageServer(lambda: "", policy=POLICY, host="192.0.2.1", port=0)
    assert (refused.value.field, refused.value.value) == ("--host", "192.0.2.1")


def test_a_page_is_rendered_when_asked_and_not_more_than_once_a_second() -> None:
    now, rendered = 0.0, 0

    def render() -> str:
        nonlocal rendered
        rendered += 1
        return str(rendered)

    cached = Cached(render, clock=lambda: now)
    assert rendered == 0
    assert (cached.page(), cached.page()) == ("1", "1")
    now = FRESH_S * 0.9
    assert cached.page() == "1"
    now = FRESH_S * 1.1
    assert cached.page() == "2"
