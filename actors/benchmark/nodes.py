"""Ray nodes on hosts of our own, and a driver inside one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray

from actors.benchmark.namespaces import Host
from actors.embedded import OUR_CLUSTERS, start_ray
from ray_easgd.errors import EasgdError

_ROOT = Path(__file__).parents[2]
_NODE_WITHIN_S = 120.0
_STORE_BYTES = 512 * 1024**2


def short_folder(kind: str) -> TemporaryDirectory[str]:
    """Below /tmp and nowhere longer: the paths of Ray's sockets have to fit into 107 bytes."""
    return TemporaryDirectory(prefix=f"easgd-{kind}-{os.getpid()}-", dir="/tmp")


def run_inside(
    host: Host, program: str, order: Mapping[str, Any], folder: Path, **environment: str
) -> Any:
    """What the module ``program`` makes of ``order`` on that host, both as JSON.

    A driver of its own: this process cannot move into a namespace. EasgdError if it fails.
    """
    order_file, result_file = folder / "order.json", folder / "result.json"
    order_file.write_text(json.dumps(order), "utf-8")
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    driver = subprocess.Popen(
        host.command(sys.executable, "-m", program, str(order_file), str(result_file)),
        env=os.environ
        | OUR_CLUSTERS
        | environment
        | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C comes to us, and we end it
    )
    try:
        code = driver.wait()
    finally:
        driver.kill()
        driver.wait()
    if code:
        raise EasgdError(f"the measurement between hosts failed (exit code {code}); see above.")
    return json.loads(result_file.read_text("utf-8"))


def start_head(host: Host, folder: Path, *, num_cpus: int = 2) -> None:
    """Ray's head in this process's own host."""
    start_ray(
        num_cpus,
        object_store_memory=_STORE_BYTES,
        _node_ip_address=host.address,
        _temp_dir=str(folder),
    )


def start_node(host: Host, folder: Path, *, num_cpus: int = 2) -> str:
    """Add a node on that host; its id. Whoever made the host ends the node."""
    known = {node["NodeID"] for node in ray.nodes()}
    words = ["start", "--block", "--num-cpus", str(num_cpus)]
    words += ["--address", ray.get_runtime_context().gcs_address]
    words += ["--node-ip-address", host.address, "--temp-dir", str(folder)]
    words += ["--object-store-memory", str(_STORE_BYTES)]
    folder.mkdir()
    log = folder / "start.log"
    with log.open("w") as said:
        command = host.command(sys.executable, "-m", "ray.scripts.scripts", *words)
        node = subprocess.Popen(command, stdout=said, stderr=said)
    give_up_at = time.monotonic() + _NODE_WITHIN_S
    while time.monotonic() < give_up_at and node.poll() is None:
        new = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["NodeID"] not in known]
        if new:
            return str(new[0])
        time.sleep(0.2)
    raise EasgdError(f"Ray's node on another host did not start.\n{log.read_text()[-2000:]}")
