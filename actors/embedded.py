"""A Ray of our own on this machine, for one driver: started in a hurry, with what a run needs."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors import stand_in
from ray_easgd.config import Config
from ray_easgd.errors import BadCluster

if TYPE_CHECKING:
    from ray._private.node import Node

NAMESPACE = "ray-easgd"

OUR_CLUSTERS = {
    "RAY_free_objects_period_milliseconds": "10",  # default 1000: puts touch fresh pages
    "RAY_worker_niceness": "0",  # default 15: workers lose the CPU to everything else
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # The raylet is sooner than its own store, and tries again after 1000 ms, 10 times
    "RAY_raylet_client_connect_timeout_milliseconds": "10",
    "RAY_raylet_client_num_connect_attempts": "1000",
}
"""Settings of the clusters that we start."""

_SLOTS_PER_CORE = 8
_INTERPRETER = "_build_python_executable_command_memory_profileable"  # of Ray's services
_AGENTS = ("dashboard_agent", "runtime_env_agent") if sys.platform == "linux" else ()
_STAND_IN = (sys.executable, "-S", "-E", "-P", str(Path(stand_in.__file__).resolve()))
_LOOK_EVERY_S, _LOOKS = 0.02, 500


def choose_num_cpus(config: Config) -> int:
    """Slots for a run on this machine. Workers may share a core, so they follow the fleet.

    Raises BadCluster.
    """
    cores = os.cpu_count() or 1
    fewest = (config.fleet.bounds or (1, 1))[0]
    wanted = fewest * config.fleet.cpus_per_worker
    if wanted > cores * _SLOTS_PER_CORE:
        raise BadCluster(
            "fleet.workers",
            config.fleet.workers,
            f"this machine has {cores} cores, too few for {fewest} workers",
            f"Set fleet.workers to at most {cores * _SLOTS_PER_CORE}, or give address=... of a "
            "cluster.",
        )
    return max(cores, 2, int(wanted + 0.999))


def set_environment() -> None:
    """For a cluster that this process or one of its children starts."""
    for name, value in OUR_CLUSTERS.items():
        os.environ.setdefault(name, value)
    ignore_unhandled()


def start_ray(
    num_cpus: int, *, log_to_driver: bool = False, keep_logs: bool = False, **more: Any
) -> None:
    """Until ``ray.shutdown``. Its worker processes come from a nursery, inside one's block.

    ``keep_logs``: for another driver. ``more`` is for ``ray.init``.
    """
    import ray

    set_environment()
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # or the driver waits for them
    hush()
    with _lean(keep_logs=keep_logs or log_to_driver):
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            namespace=NAMESPACE,
            log_to_driver=log_to_driver,
            logging_level=logging.WARNING,
            **more,
        )


def ignore_unhandled() -> None:
    """A question still under way when its actor dies is answered by another path, and aloud."""
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")


def hush() -> None:
    """Ray tells of its token whenever somebody connects, and that it leaves SIGTERM to us."""
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    logging.getLogger("ray._private.worker").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("SIGTERM handler is not set")


@contextmanager
def _lean(*, keep_logs: bool) -> Iterator[None]:
    """Leave away five processes that each import for a second or more, and do nothing for us.

    The dashboard's server, which Ray starts and waits for even where no dashboard is wanted; the
    autoscaler's monitor, where there is one node; who forwards logs, where nobody reads them; the
    node's two agents, for which it waits (``stand_in.py``). And a second's sleep.
    """

    from ray._private import services
    from ray._private.node import Node

    def start_no_server(node: Node, **_: object) -> None:
        node._webui_url = ""  # noqa: SLF001  (it has no public face)

    def start_nothing(node: Node) -> None:
        pass

    left_away: dict[str, Callable[..., None]] = {
        "start_api_server": start_no_server,
        "start_monitor": start_nothing,
    }
    if not keep_logs:
        left_away["start_log_monitor"] = start_nothing
    with ExitStack() as restored:
        for name, instead in left_away.items():
            restored.enter_context(_replaced(Node, name, instead))
        restored.enter_context(_replaced(services, "get_node", _node_once_there))
        restored.enter_context(_replaced(services, _INTERPRETER, _stand_in_for_agents(services)))
        yield


def _stand_in_for_agents(services: Any) -> Callable[..., list[str]]:
    """What runs each of Ray's Python processes; for an agent, its stand-in with that to run."""
    before = getattr(services, _INTERPRETER, None)

    def interpreter(component: str, *args: Any, **options: Any) -> list[str]:
        assert before is not None  # or nobody would have replaced it
        command: list[str] = before(component, *args, **options)
        return [*_STAND_IN, *command] if component in _AGENTS else command

    return interpreter


@contextmanager
def _replaced(owner: Any, name: str, instead: Callable[..., Any]) -> Iterator[None]:
    """Where ``owner`` has it, as in the Ray we know."""
    if not hasattr(owner, name):
        yield
        return
    before = getattr(owner, name)
    setattr(owner, name, instead)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _node_once_there(gcs_address: str, node_id: str) -> Any:
    """As ``ray._private.services.get_node``, which sleeps a second where a node is not there yet.

    Asking at once and often, as nobody tells; after ten seconds Ray may ask as it does.
    """
    from ray._private import services, state

    table = state.GlobalState()
    table._initialize_global_state(services._get_gcs_client_options(gcs_address))  # noqa: SLF001
    for _ in range(_LOOKS):
        if any(row["NodeID"] == node_id for row in table.node_table()):
            break
        time.sleep(_LOOK_EVERY_S)
    return table.get_node(node_id)
