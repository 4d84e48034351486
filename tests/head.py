"""A real head of a cluster: `ray start --head` with dashboard, token and ports of its own.

On loopback, in a folder of its own, so that it meets no other Ray of this machine::

    with head(num_cpus=4) as ray_head:
        subprocess.run([...], env=os.environ | ray_head.environment)
        ray_head.ask("/api/jobs/")      # the dashboard's HTTP API, with the token
        ray_head.metrics()              # what a Prometheus would scrape

It takes 15 to 25 seconds to come up on two cores, so tests share one. Talk to it from processes of
their own, or by HTTP with its token: a process that has called ``ray.init`` once keeps the token of
that cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from actors.embedded import OUR_CLUSTERS
from actors.local_nodes import LocalNode

ROOT = Path(__file__).parents[1]
_TRIES = 3  # between being found free and being used, a port may be taken
_ANSWER_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Head:
    """Where it is: for Ray (``address``), for a browser (``dashboard``), for Ray's client."""

    address: str
    dashboard: str
    client: str
    metrics_port: int
    token_path: Path
    folder: Path

    @property
    def token(self) -> str:
        return self.token_path.read_text("utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """What a process that talks to it has set, beside its own environment."""
        return _environment(self.token_path)

    def ask(self, path: str, *, token: str | None = None) -> Any:
        """The JSON answer of the dashboard's HTTP API to a GET; HTTPError if it refuses."""
        return json.loads(_get(self.dashboard + path, token or self.token))

    def metrics(self) -> str:
        """What a Prometheus would scrape now from the targets that Ray names to it."""
        return "".join(_get(f"http://{t}/metrics", self.token).decode() for t in self.targets())

    def targets(self) -> list[str]:
        """``host:port`` of each metrics endpoint: this node's own, the autoscaler's and so on."""
        groups = json.loads(self.targets_path.read_text("utf-8"))
        return [target for group in groups for target in group["targets"]]

    @property
    def targets_path(self) -> Path:
        """What Ray writes for Prometheus, to be given to it under ``file_sd_configs``."""
        return self.folder / "prom_metrics_service_discovery.json"


@contextmanager
def head(*, num_cpus: int = 4, settings: Mapping[str, str] | None = None) -> Iterator[Head]:
    """A head that ends with the block. ``settings`` are environment variables beside ours."""
    with tempfile.TemporaryDirectory(prefix="head-", ignore_cleanup_errors=True) as folder:
        token_path = Path(folder) / "token"
        token_path.write_text("0123456789abcdef" * 4, "utf-8")
        for _ in range(_TRIES):
            with contextlib.ExitStack() as stack:
                started = _start(Path(folder), token_path, num_cpus, settings or {}, stack)
                if started is not None:
                    yield started
                    return
    raise AssertionError("ray start --head did not come up")


def _start(
    folder: Path,
    token_path: Path,
    num_cpus: int,
    settings: Mapping[str, str],
    stack: contextlib.ExitStack,
) -> Head | None:
    """None where Ray gave up. ``stack`` ends its processes."""
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    words = [
        *("--head", "--block", "--node-ip-address=127.0.0.1", f"--num-cpus={num_cpus}"),
        *(f"--temp-dir={folder}", "--object-store-memory=300000000", "--disable-usage-stats"),
        *("--include-dashboard=true", "--dashboard-host=127.0.0.1"),
        *(f"--{name}={port}" for name, port in ports.items()),
    ]
    log = stack.enter_context((folder / "start.log").open("wb"))
    process = subprocess.Popen(
        [Path(sys.executable).with_name("ray"), "start", *words],
        env={**os.environ, **OUR_CLUSTERS, **_environment(token_path), **settings},
        cwd=folder,  # a folder with an `actors` or a `ray_easgd` would be on its workers' path
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    stack.callback(LocalNode(process, "head").kill)
    made = Head(
        address=f"127.0.0.1:{ports['port']}",
        dashboard=f"http://127.0.0.1:{ports['dashboard-port']}",
        client=f"ray://127.0.0.1:{ports['ray-client-server-port']}",
        metrics_port=ports["metrics-export-port"],
        token_path=token_path,
        folder=folder,
    )
    while process.poll() is None:
        with contextlib.suppress(OSError):  # also of a server that is not ready, as URLError
            if _is_up(made):
                return made
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
    return None


def _is_up(made: Head) -> bool:
    """Whether it takes jobs, and its node's agent answers, which is there last."""
    made.ask("/api/jobs/")
    node = [t for t in made.targets() if t.endswith(f":{made.metrics_port}")]
    return bool(node) and bool(made.metrics())


_PORTS = (
    *("port", "dashboard-port", "ray-client-server-port", "metrics-export-port"),
    *("node-manager-port", "object-manager-port", "runtime-env-agent-port"),
    *("dashboard-agent-listen-port", "dashboard-agent-grpc-port"),
)


def _environment(token_path: Path) -> dict[str, str]:
    here = Path(sys.executable).parent
    return {
        "PATH": f"{here}:{os.environ['PATH']}",  # `python` in a job's command is this one
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        "RAY_TMPDIR": str(token_path.parent),
    }


def _free_ports(count: int) -> list[int]:
    """All different: each is held until the last is found."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _get(url: str, token: str) -> bytes:
    request = Request(url, headers={"Authorization": f"Bearer {token}"})
    with urlopen(request, timeout=_ANSWER_S) as answer:
        return bytes(answer.read())
