"""The Ray cluster a run uses: one that is there, or an embedded one of our own."""

from __future__ import annotations

import json
import logging
import math
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import ray
from ray.exceptions import AuthenticationError

from actors import ahead
from actors.ahead import is_elsewhere
from actors.embedded import NAMESPACE, choose_num_cpus, hush, ignore_unhandled, start_ray
from actors.nursery import nursery
from ray_easgd.config import Config
from ray_easgd.environment import ray_address, ray_api_address, ray_token
from ray_easgd.errors import BadCluster
from ray_easgd.topology import levels_per_node

if TYPE_CHECKING:
    from ray_easgd.algorithms import Algorithm

_ANSWER_WITHIN_S = 5.0

SLOW_LINES = {
    "RAY_object_manager_default_chunk_size": "65536",  # default 5 MiB
    "RAY_object_manager_max_bytes_in_flight": "196608",  # default 2 GiB
}
"""What a cluster on lines below about 1 Gbit/s should be started with: in small bites, what asks
for one direction does not wait behind the bulk of the other. A fast line would starve on it."""


@contextmanager
def connected(config: Config, *, log_to_driver: bool) -> Iterator[None]:
    """Be connected to a cluster; one that we started ends with the block."""
    if ray.is_initialized() and config.address is None:
        yield
        return
    address = config.address or ray_address()
    if address and address != "local":
        _check_answers(address)
    if ray.is_initialized():
        yield
        return
    ignore_unhandled()
    begun = address if is_elsewhere(config) else ahead.address()
    with ExitStack() as cluster:
        if begun is None:
            num_cpus = choose_num_cpus(config)
            cluster.enter_context(nursery())
            cluster.callback(ray.shutdown)
            start_ray(num_cpus, log_to_driver=log_to_driver)
        else:
            cluster.callback(ray.shutdown)
            _join(begun, log_to_driver=log_to_driver)
        yield


def choose_num_workers(config: Config, *, sequential: bool) -> int:
    """How many workers the run begins with; BadCluster if the cluster can never hold them."""
    bounds = config.fleet.bounds
    if sequential:
        bounds = (1, 1)
    room = _room(config)
    leaves = math.prod(level.fan_out for level in config.topology.levels)
    fewest, most = bounds or (1, leaves if config.topology.levels else 4)
    if fewest > room and not _has_autoscaler():
        raise no_room(config, room, has_gpus=ray.cluster_resources().get("GPU", 0.0) > 0)
    return max(fewest, min(most, room))


def no_room(config: Config, room: int, *, has_gpus: bool) -> BadCluster:
    """Why a cluster with room for so many workers, and maybe with GPUs, cannot hold the fleet."""
    section = config.fleet
    if section.gpus_per_worker and not has_gpus:
        return BadCluster(
            "fleet.gpus_per_worker",
            section.gpus_per_worker,
            "no node of this cluster has a GPU",
            "Set fleet.gpus_per_worker=0, or add nodes with GPUs.",
        )
    each = f"{section.cpus_per_worker:g} CPU"
    if has_gpus:
        each += f" and {gpus_per_worker(config):g} GPU"
    fewer = f"Set fleet.workers={room}, or lower" if room else "Lower"
    return BadCluster(
        "fleet.workers",
        section.workers,
        f"this cluster can never hold more than {room} workers of {each}",
        f"{fewer} fleet.cpus_per_worker or fleet.gpus_per_worker, or add nodes.",
    )


def num_wanted(config: Config, num_workers: int) -> int:
    """How many workers a run asks for: of ``min..max`` all that may ever come.

    Those there is no room for are pending, which is how a cluster learns to grow.
    """
    bounds = config.fleet.bounds
    return bounds[1] if bounds and bounds[0] < bounds[1] else num_workers


def num_spares(config: Config) -> int:
    """Warm processes kept for losses. On a cluster of our own nobody takes workers away.

    One for a GPU's worker holds a GPU, which only the user can want.
    """
    if config.fleet.spares is not None:
        return config.fleet.spares
    return 1 if is_elsewhere(config) and not gpus_per_worker(config) else 0


def nodes_for_workers(config: Config) -> dict[str, dict[str, str]]:
    """The labels of the living nodes that can hold a worker, by their ids."""
    shares = (("CPU", config.fleet.cpus_per_worker), ("GPU", gpus_per_worker(config)))
    return {
        node["NodeID"]: node.get("Labels", {})
        for node in ray.nodes()
        if node["Alive"] and all(node["Resources"].get(kind, 0.0) >= n for kind, n in shares)
    }


def refuse_unknown_placement(config: Config) -> None:
    """BadCluster where a level is placed by a label that no node has."""
    nodes = nodes_for_workers(config)
    known = {label for labels in nodes.values() for label in labels}
    for k, level in enumerate(config.topology.levels[:-1]):
        if level.placement not in {"free", "node", *known}:
            raise BadCluster(
                f"topology.levels.{k}.placement",
                level.placement,
                "no node that can hold a worker has that label",
                f"Take node or free, or one of: {', '.join(sorted(known)) or '(there is none)'}.",
            )


def with_default_tree(config: Config, algorithm: Algorithm, num_workers: int) -> Config:
    """An aggregator on each node of a cluster of several, where nothing else was asked for."""
    asked = config.topology.levels or config.center.shards > 1
    if asked or algorithm.sequential or algorithm.rounds != "none":
        return config
    period = config.algorithm.period or algorithm.period
    levels = levels_per_node(len(nodes_for_workers(config)), num_workers, period)
    if not levels:
        return config
    topology = config.topology.model_copy(update={"levels": levels})
    free = config.algorithm.model_copy(update={"period": None})
    return config.model_copy(update={"topology": topology, "algorithm": free})


def gpus_per_worker(config: Config) -> float:
    """The configured share, else one where the cluster has GPUs."""
    if config.fleet.gpus_per_worker is not None:
        return config.fleet.gpus_per_worker
    return 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0


def _room(config: Config) -> int:
    """How many workers fit into the whole cluster, were nothing else running."""
    resources = ray.cluster_resources()
    shares = [
        (resources.get("CPU", 0.0), config.fleet.cpus_per_worker),
        (resources.get("GPU", 0.0), gpus_per_worker(config)),
    ]
    return min((int(have / need + 1e-9) for have, need in shares if need), default=1024)


def _has_autoscaler() -> bool:
    """Whether something may add nodes, as Ray's own monitor reports it.

    A cluster without one reports each node as a type of its own, ``node_<node id>``.
    """
    from ray.autoscaler.v2.utils import is_autoscaler_v2
    from ray.experimental.internal_kv import _internal_kv_get

    if is_autoscaler_v2(fetch_from_server=True):
        return True
    status = json.loads(_internal_kv_get("__autoscaling_status") or b"{}")
    types = status.get("autoscaler_report", {}).get("active_nodes") or {}
    mirrored = {f"node_{node['NodeID']}" for node in ray.nodes()}
    return bool(types.keys() - mirrored)


def _join(address: str, *, log_to_driver: bool) -> Any:
    hush()
    try:
        return ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=log_to_driver,
            logging_level=logging.WARNING,
        )
    except AuthenticationError as error:
        raise refused(address, error.message.splitlines()[0]) from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unreachable(address, str(error).splitlines()[0]) from error


@contextmanager
def joined_cluster(address: str | None) -> Iterator[None]:
    """Be connected to a cluster that is there: at ``address``, or the one on this machine."""
    if ray.is_initialized():
        yield
        return
    address = address or ray_address() or "auto"
    _check_answers(address)
    _join(address, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def api_of(address: str | None) -> str:
    """The URL of a cluster's HTTP API, which its dashboard shows.

    ``address`` is that URL, or one that ``ray.init`` takes; None: the environment's, or the one on
    this machine. Raises BadCluster.
    """
    address = address or ray_api_address() or ray_address() or "auto"
    if is_url(address):
        return address.rstrip("/")
    _check_answers(address)
    context = _join(address, log_to_driver=False)
    ray.shutdown()
    if not context.dashboard_url:
        raise BadCluster(
            "address",
            address,
            "this cluster has no dashboard, so nobody there takes jobs",
            "Start its head with `--include-dashboard=true` and `ray[default]` installed.",
        )
    return f"http://{context.dashboard_url}"


def is_url(address: str | None) -> bool:
    """Whether it is a head's HTTP API, and not an address of Ray's own."""
    return bool(address) and str(address).startswith(("http://", "https://"))


def _check_answers(address: str) -> None:
    """Knock first: Ray itself would wait for minutes at a wrong address."""
    if is_url(address):
        raise BadCluster(
            _said_by(address),
            address,
            "it is the URL of a dashboard, which takes jobs and no drivers",
            f"On a node of the cluster give {urlsplit(address).hostname}:6379; from anywhere else "
            "take `ray-easgd submit`.",
        )
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return  # "auto": Ray looks it up, and says so if there is none
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_WITHIN_S).close()
    except (OSError, ValueError) as error:
        raise _unreachable(address, str(error)) from None


def refused(address: str, said: str) -> BadCluster:
    """The cluster at ``address`` does not let us in, for the reason that it ``said``."""
    _, found_in = ray_token()
    problem = "this is not its token" if found_in else "it asks for a token, and there is none here"
    return BadCluster(
        "token",
        found_in or None,
        f"{address} lets nobody in with that, {problem} ({said})",
        "Put the cluster's own into RAY_AUTH_TOKEN, into a file that RAY_AUTH_TOKEN_PATH names, or "
        "into ~/.ray/auth_token; `ray get-auth-token` tells it on the head.",
    )


def _unreachable(address: str, problem: str) -> BadCluster:
    field = _said_by(address)
    alone = "leave address away" if field == "address" else f"unset {field}"
    return BadCluster(
        field,
        address,
        f"no Ray cluster answers there ({problem})",
        "Check `ray status` on the head node, and the cluster's token (RAY_AUTH_TOKEN_PATH); or "
        f"{alone} for an embedded cluster.",
    )


def _said_by(address: str) -> str:
    """What has to be changed for another address: who leaves the key away gets the variable's."""
    return "RAY_ADDRESS" if address == ray_address() else "address"
