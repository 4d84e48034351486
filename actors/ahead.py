"""A cluster of our own starts while its driver imports torch: each takes seconds of a core.

Nothing here imports Ray. Its library has to be loaded after the nursery has been copied from us,
and a head that is a process of its own does not wait for our imports, nor they for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from importlib import import_module
from typing import IO

from actors.embedded import choose_num_cpus, set_environment
from actors.nursery import IS_POSSIBLE, Nursery, opened
from actors.nursery_process import AT_ONCE, import_all
from actors.programs import command
from ray_easgd.config import Config
from ray_easgd.environment import ray_address
from ray_easgd.errors import EasgdError

_begun: list[Head] = []  # one, while its driver is not there yet or trains


class Head:
    """A Ray in a process of its own, which ends it when we close its input, or die."""

    def __init__(self, num_cpus: int, nursery: Nursery, *, keep_logs: bool) -> None:
        words = [str(num_cpus), "logs" if keep_logs else "quiet"]
        self._process = subprocess.Popen(
            command("actors.head", *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | nursery.environment,
            start_new_session=True,  # Ctrl-C is for the driver
        )
        self._has_answered = False

    @cached_property
    def address(self) -> str:
        """Where it listens, once it does. EasgdError if it does not start."""
        said = self._process.stdout.readline().strip() if self._process.stdout else ""
        if not said:
            raise EasgdError(
                f"Ray did not start on this machine (exit code {self._process.wait()}); what it "
                "said stands above, more in the logs below /tmp/ray/session_latest/logs."
            )
        self._has_answered = True
        return said

    @property
    def streams(self) -> list[IO[str]]:
        """Which no copy of us may hold open."""
        return [stream for stream in (self._process.stdin, self._process.stdout) if stream]

    def end(self) -> None:
        """With all its processes; at once where nobody has joined it yet."""
        if not self._has_answered:
            self._process.kill()
        self._process.communicate()


@contextmanager
def ahead(config: Config, *, log_to_driver: bool) -> Iterator[None]:
    """Let a cluster of our own start while the block imports what it needs.

    ``connected`` joins it. Nothing happens where torch is there already, or the cluster.
    """
    is_late = "torch" in sys.modules or "ray" in sys.modules
    if is_late or is_elsewhere(config) or not IS_POSSIBLE:
        yield
        return
    num_cpus = choose_num_cpus(config)
    set_environment()
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray's own choice, made before we load it
    with ExitStack() as begun:
        nursery = begun.enter_context(opened())
        head = Head(num_cpus, nursery, keep_logs=log_to_driver)
        begun.callback(head.end)
        import_all(AT_ONCE)
        nursery.serve_from_a_copy(not_for_it=head.streams)
        begun.callback(_leave)
        import_all(("actors.trainer",))
        _begun.append(head)
        yield


def _leave() -> None:
    _begun.clear()
    if "ray" in sys.modules:
        import_module("ray").shutdown()


def address() -> str | None:
    """Of the cluster that was begun ahead, once it is there; None if none was."""
    return _begun[0].address if _begun else None


def is_elsewhere(config: Config) -> bool:
    """Whether the cluster is one that is there already."""
    return (config.address or ray_address() or "local") != "local"
