"""What happens on a cluster that grows and shrinks: played once, looked at by test_autoscaling.py.

``python -m tests.autoscaled FOLDER`` runs in namespaces of its own, where nothing that it starts
or ends can be anybody else's; the fake nodes are Ray's own for its autoscaler's tests. A head
without a CPU, labelled on-demand; ``MOST_NODES`` spot nodes of one CPU may come, and one that is
not spot. What is seen is written to ``FOLDER/seen.json``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ADDRESS = "127.0.0.1:6379"
MOST_NODES = 4
ENDLESS = 10_000_000
HEAD = "ray.head.default"  # the name that the fake provider gives it
_BETWEEN_LOOKS_S = 0.2

Driver = subprocess.Popen[bytes]

_TYPES = {
    HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
    "steady": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 1},
    "spot": {
        "resources": {"CPU": 1, "object_store_memory": 100_000_000},
        "labels": {"ray.io/market-type": "spot"},
        "node_config": {},
        "max_workers": MOST_NODES,
    },
}
_STAGE = {
    "cluster_name": "autoscaled",
    "max_workers": MOST_NODES,
    "idle_timeout_minutes": 0.1,
    "upscaling_speed": 100.0,
    "head_node_type": HEAD,
    "available_node_types": _TYPES,
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "rsync_exclude": [],
    "rsync_filter": [],
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "launch_multiple": True,
    },
}


def write_stage(folder: Path) -> tuple[Path, str]:
    """The autoscaler's configuration, and the head's id.

    Ray takes what it lacks from an example beside its provider, which its wheel does not ship:
    here it is put there, in our mount namespace alone.
    """
    from ray.autoscaler._private.fake_multi_node import node_provider

    head = node_provider.FAKE_HEAD_NODE_ID
    _STAGE["provider"]["head_node_id"] = head  # type: ignore[index]
    home = Path(node_provider.__file__).parent
    ours = folder / home.name
    shutil.copytree(home, ours)
    written = ours / "example.yaml"
    written.write_text(json.dumps(_STAGE))
    subprocess.run(["mount", "--bind", ours, home], check=True)
    return written, head


def start_head(folder: Path) -> None:
    """The cluster, as long as these namespaces last."""
    written, head = write_stage(folder)
    environment = os.environ | {
        "RAY_enable_autoscaler_v2": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_CLOUD_INSTANCE_ID": head,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": head,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    words = ["--head", "--num-cpus=0", "--object-store-memory=100000000"]
    labels = "--labels=ray.io/market-type=on-demand"
    subprocess.run(
        [
            Path(sys.executable).with_name("ray"),
            *("start", *words, labels, "--include-dashboard=false", "--disable-usage-stats"),
            f"--autoscaling-config={written}",
        ],
        env=environment,
        check=True,
    )


def loop(config: dict[str, Any]) -> None:
    """Steps without data until the flag is there; then trains as long as there is data."""
    from ray_easgd import session
    from tests.fakes import Points, descend, small_model

    model = small_model()
    elastic = session.elastic(model)
    for inputs, targets in session.data(Points(), batch_size=8):
        descend(model, inputs, targets, lr=0.05)
        elastic.step()
        while not os.path.exists(config["flag"]):  # noqa: PTH110
            time.sleep(0.05)  # what a gradient takes
            elastic.step()


def drive(folder: Path) -> None:
    """The driver of the run that is scaled: ends once all samples are seen."""
    from ray_easgd import ElasticTrainer

    sections = {
        "address": ADDRESS,
        "algorithm": {"name": "easgd", "period": 4},
        "fleet": {"workers": 1, "gpus_per_worker": 0, "spares": 0},
        "run": {"name": "scaled", "storage": str(folder)},
        "stop": {"samples": 4096},
    }
    flag = {"flag": str(folder / "enough")}
    result = ElasticTrainer(loop, train_loop_config=flag, config=sections).fit()
    (folder / "result.json").write_text(json.dumps(result.metrics))


# -- what is seen ------------------------------------------------------------------------------


def demand() -> int:
    """How many requests for room the autoscaler sees now, of any kind."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    demands = get_cluster_status(ADDRESS).resource_demands
    kinds = (
        demands.ray_task_actor_demand,
        demands.placement_group_demand,
        demands.cluster_constraint_demand,
    )
    return sum(bundle.count for kind in kinds for one in kind for bundle in one.bundles_by_count)


def markets() -> dict[str, str]:
    """What each living node is, by its id."""
    import ray

    return {
        node["NodeID"]: node["Labels"].get("ray.io/market-type", "")
        for node in ray.nodes()
        if node["Alive"]
    }


def landed(run: str) -> dict[str, str]:
    """The market of the node of each process of a run, by its name; of those that are alive."""
    from ray._private.state import actors

    nodes = markets()
    return {
        actor["Name"].removeprefix(f"{run}:"): nodes.get(actor["Address"]["NodeID"], "gone")
        for actor in actors().values()
        if actor["Name"].startswith(f"{run}:") and actor["State"] == "ALIVE"
    }


def at_work(run: str) -> dict[str, int]:
    """The life of each worker that steps, by its name; none where the run is not there."""
    import ray

    from actors.runs import controller_of
    from ray_easgd.errors import BadInput

    try:
        with controller_of(run, ADDRESS) as (_, controller):
            census: Any = ray.get(controller.census.remote())
    except BadInput:
        return {}
    return {worker.name: worker.life for worker in census.workers if worker.step}


def until(what: str, happened: Callable[[], bool], driver: Driver | None = None) -> None:
    """Look again and again, while there is a driver; the time limit is the test's."""
    began = time.monotonic()
    while not happened():
        assert driver is None or driver.poll() is None, f"the driver ended before {what}"
        time.sleep(_BETWEEN_LOOKS_S)
    sys.stdout.write(f"{time.monotonic() - began:6.1f} s until {what}\n")
    sys.stdout.flush()


# -- the play ----------------------------------------------------------------------------------


@contextmanager
def driver(*words: str) -> Iterator[Driver]:
    process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def scaled(folder: Path) -> dict[str, Any]:
    """One run with 1, 4 and 1 workers, more wanted in between than there can ever be nodes."""
    from actors.runs import scale

    seen: dict[str, Any] = {}
    with driver("tests.autoscaled", str(folder), "drive") as run:
        until("the first worker steps", lambda: len(at_work("scaled")) == 1, run)
        scale("scaled", MOST_NODES, ADDRESS)
        until("all four step", lambda: len(at_work("scaled")) == MOST_NODES, run)
        seen["four"], seen["landed"] = at_work("scaled"), landed("scaled")
        scale("scaled", MOST_NODES + 2, ADDRESS)
        until("two wait for room", lambda: demand() == 2, run)
        scale("scaled", 1, ADDRESS)
        until("no room is asked for", lambda: demand() == 0, run)
        until("one steps", lambda: len(at_work("scaled")) == 1, run)
        seen["one"] = at_work("scaled")
        until("two nodes have left", lambda: len(markets()) <= MOST_NODES - 1, run)
        (folder / "enough").touch()
        seen["exit"] = run.wait()
    until("nothing is asked for", lambda: demand() == 0)
    return seen


def ended_by(number: signal.Signals, folder: Path) -> dict[str, Any]:
    """A run that wants more workers than there can be, and a signal to its driver in mid-run."""
    name = number.name.lower()
    keys = {
        "address": ADDRESS,
        "data": "digits",
        "model": "mlp",
        "algorithm.name": "easgd",
        "fleet.workers": f"1..{MOST_NODES + 2}",
        "fleet.steps_per_s": 5,
        "stop.samples": ENDLESS,
        "run.name": name,
        "run.storage": folder,
    }
    words = [f"{key}={value}" for key, value in keys.items()]
    with driver("ray_easgd.cli", "train", *words, "--json") as run:
        until("it asks for room", lambda: demand() > 0, run)
        until("somebody steps", lambda: bool(at_work(name)), run)
        wanted = demand()
        run.send_signal(number)
        run.wait()
        until(f"nothing is asked for after {name}", lambda: demand() == 0)
        until("none of its processes is there", lambda: not landed(name))
        return {"exit": run.returncode, "wanted": wanted}


def main(folder: Path) -> None:
    os.environ["RAY_AUTH_MODE"] = "disabled"  # nobody else is in these namespaces
    import ray

    from actors.embedded import NAMESPACE

    start_head(folder)
    ray.init(ADDRESS, namespace=NAMESPACE, log_to_driver=False)
    seen = {"scaled": scaled(folder)}
    seen |= {number.name: ended_by(number, folder) for number in (signal.SIGINT, signal.SIGKILL)}
    (folder / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    (drive if sys.argv[2:] else main)(Path(sys.argv[1]))
