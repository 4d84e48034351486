"""More Ray nodes on this machine, beside the one we are connected to: to be taken away again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from actors.lifecycle import on
from ray_easgd.errors import EasgdError
from ray_easgd.processes import end_family

_TRIES = 3  # `ray start` gives up after 30 seconds, which a busy machine may need


@dataclass
class LocalNode:
    """A node on this machine, by its id, and the process that all of it hangs on."""

    process: subprocess.Popen[bytes]
    id: str

    def kill(self) -> None:
        """All its processes at once, as when the power goes. Harmless when repeated."""
        _kill(self.process)


def start_node(num_cpus: float, *, labels: Sequence[str] = ()) -> LocalNode:
    """Add a node to the cluster that we are connected to, and wait until it works.

    EasgdError where Ray does not start it.
    """
    before = {n["NodeID"] for n in ray.nodes()}
    address = ray.get_runtime_context().gcs_address
    words = [f"--num-cpus={num_cpus:g}", "--block", f"--address={address}"]
    if labels:
        words.append(f"--labels={','.join(labels)}")
    with tempfile.TemporaryFile() as said:
        for _ in range(_TRIES):
            process = subprocess.Popen(
                [Path(sys.executable).with_name("ray"), "start", *words],
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                if new := _joined(process, before):
                    (node,) = new
                    _meet(node, here=ray.get_runtime_context().get_node_id())
                    return LocalNode(process, node)
            except BaseException:
                _kill(process)
                raise
            _kill(process)
        said.seek(0)
        why = said.read()[-2000:].decode(errors="replace").strip()
    raise EasgdError(
        f"Ray's node on this machine did not start, {_TRIES} times; `ray start` said:\n{why}"
    )


@contextmanager
def one_more_node(num_cpus: float, *, labels: Sequence[str] = ()) -> Iterator[LocalNode]:
    """A node that ends with the block."""
    node = start_node(num_cpus, labels=labels)
    try:
        yield node
    finally:
        node.kill()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        end_family(process.pid)
    process.wait()


def _joined(process: subprocess.Popen[bytes], before: set[str]) -> set[str]:
    """Wait until there is a new node; empty where `ray start` has given up.

    It needs the processor itself: who only asks and asks would take it away.
    """
    while not (new := {n["NodeID"] for n in ray.nodes() if n["Alive"]} - before):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
            return set()
    return new


def _meet(new: str, *, here: str) -> None:
    """Wait until both nodes know each other."""

    @ray.remote(num_cpus=0)
    def where() -> str:
        return str(ray.get_runtime_context().get_node_id())

    @ray.remote(num_cpus=0)
    def back() -> str:
        return str(ray.get(there(where, here)))

    def there(task: Any, node: str) -> Any:
        return task.options(scheduling_strategy=on(node)).remote()

    assert ray.get(there(where, new)) == new
    assert ray.get(there(back, new)) == here
