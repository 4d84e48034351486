"""The driver of ``test_job_on_nodes`` on the head's host. A program: ORDER_FILE RESULT_FILE."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import ray
from ray._private.state import actors as actor_table  # the one that tells nodes of names
from ray.exceptions import RayError

from actors.benchmark.namespaces import Host
from actors.benchmark.nodes import start_node
from actors.embedded import NAMESPACE
from actors.lifecycle import actor_name

RUN, WORKERS, CPUS = "job", 4, 2
TRAINING_S = 150
_LOOK_EVERY_S = 0.5
_HERE = Path(sys.executable).parent


def main(order_file: str, result_file: str) -> None:
    order = json.loads(Path(order_file).read_text("utf-8"))
    hosts, folder = [Host(**host) for host in order["hosts"]], Path(order["folder"])
    os.environ["PATH"] = f"{_HERE}:{os.environ['PATH']}"  # `python` in a job's command is this one
    dashboard = start_head(hosts[0], folder / "n0")
    os.environ["RAY_API_SERVER_ADDRESS"] = dashboard
    ray.init(address=f"{hosts[0].address}:6379", namespace=NAMESPACE, log_to_driver=False)
    nodes = {
        start_node(host, folder / f"n{k}", num_cpus=CPUS): host
        for k, host in enumerate(hosts[1:], 1)
    }
    submit(folder)
    until(lambda: len(at_work()) == WORKERS)
    tell(f"{WORKERS} workers train on {len(set(at_work().values()))} nodes")

    told: dict[str, Any] = {}
    drained = busiest(nodes)
    began = time.monotonic()
    drain(drained, f"{hosts[0].address}:6379")
    until(lambda: drained not in at_work().values() and len(at_work()) == WORKERS)
    told["drained_and_replaced_s"] = time.monotonic() - began
    power_off(nodes.pop(drained))
    tell("a node was drained, and is gone")

    cut = busiest(nodes)
    began = time.monotonic()
    wire(nodes[cut], "down")
    until(lambda: cut in dead_nodes())
    told["noticed_s"] = time.monotonic() - began
    before = exchanges()
    until(lambda: exchanges() > before + 10)
    wire(nodes[cut], "up")
    tell("a node was cut off, and is healed")

    told["state"] = wait_for_job(dashboard)
    told["events"] = [e for e in events(folder) if e["kind"] != "device"]
    told["metrics"] = json.loads((folder / RUN / "result.json").read_text("utf-8"))
    Path(result_file).write_text(json.dumps(told), "utf-8")


def start_head(host: Host, folder: Path) -> str:
    """The head, with a dashboard; where that is. It ends with its host."""
    folder.mkdir()
    words = [
        *("start", "--head", "--block", "--num-cpus=0", "--port=6379", "--disable-usage-stats"),
        *(f"--node-ip-address={host.address}", f"--temp-dir={folder}"),
        *("--include-dashboard=true", f"--dashboard-host={host.address}"),
        "--object-store-memory=500000000",
    ]
    with (folder / "start.log").open("wb") as log:
        subprocess.Popen([_HERE / "ray", *words], stdout=log, stderr=log)
    dashboard = f"http://{host.address}:8265"

    def answers() -> bool:
        with suppress(OSError), urlopen(f"{dashboard}/api/jobs/", timeout=5):
            return True
        return False

    until(answers)
    return dashboard


def submit(folder: Path) -> None:
    """As a user does."""
    keys = [
        *("data=digits", f"fleet.workers={WORKERS}", "fleet.spares=0", "fleet.steps_per_s=25"),
        *(f"run.name={RUN}", f"run.storage={folder}", "run.checkpoint_s=10"),
        *("exchange.ledger=true", f"stop.seconds={TRAINING_S}"),
    ]
    subprocess.run([_HERE / "ray-easgd", "submit", *keys, "--no-wait"], check=True)


def census_of_run() -> Any:
    """Ray types what comes of an unknown actor as a list."""
    controller: Any = ray.get_actor(f"{RUN}:controller")
    return ray.get(controller.census.remote())


def at_work() -> dict[str, str]:
    """The node of each worker that has taken a step."""
    with suppress(RayError, ValueError):  # no controller yet, or none for a moment
        census = census_of_run()
        lives = {(w.name, w.life) for w in census.workers if w.step}
        names = {actor_name(RUN, name, life) for name, life in lives}
        alive = [row for row in actor_table().values() if row["State"] == "ALIVE"]
        return {row["Name"]: row["Address"]["NodeID"] for row in alive if row["Name"] in names}
    return {}


def exchanges() -> int:
    """Of all workers that are not gone."""
    with suppress(RayError, ValueError):
        return sum(w.exchanges for w in census_of_run().workers)
    return 0


def busiest(nodes: dict[str, Host]) -> str:
    where = list(at_work().values())
    return max(nodes, key=where.count)


def drain(node: str, address: str) -> None:
    """As an operator does."""
    words = ["drain-node", "--address", address, "--node-id", node]
    words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    words += ["--deadline-remaining-seconds", "60"]
    subprocess.run([_HERE / "ray", *words], check=True, stdout=subprocess.DEVNULL)


def power_off(host: Host) -> None:
    """All its processes at once."""
    inside = subprocess.run(
        ["ip", "netns", "pids", host.namespace], capture_output=True, text=True, check=True
    )
    for pid in inside.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), 9)


def wire(host: Host, state: str) -> None:
    subprocess.run(["ip", "-n", host.namespace, "link", "set", "veth0", state], check=True)


def dead_nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if not node["Alive"]}


def wait_for_job(dashboard: str) -> str:
    """How it ended."""
    state = "RUNNING"

    def is_over() -> bool:
        nonlocal state
        with urlopen(f"{dashboard}/api/jobs/", timeout=30) as answer:
            (job,) = [j for j in json.loads(answer.read()) if j["submission_id"] == f"{RUN}.1"]
        state = job["status"]
        return state not in {"PENDING", "RUNNING"}

    until(is_over)
    return state


def events(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / RUN / "events.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def until(is_so: Callable[[], bool]) -> None:
    """The test's own time limit ends what never comes true."""
    while not is_so():
        time.sleep(_LOOK_EVERY_S)


def tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
