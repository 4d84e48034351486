"""The runs that are going on on a cluster, found by their names from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray

from actors.cluster import joined_cluster
from ray_easgd.errors import BadInput

CONTROLLER = ":controller"


@contextmanager
def controller_of(run: str | None, address: str | None) -> Iterator[tuple[str, Any]]:
    """Name and controller of that run, or of the only one; on that cluster, or this machine's.

    Raises BadInput where there is no such run, BadCluster where no cluster answers.
    """
    with joined_cluster(address):
        name, namespace = choose(run, dict(_running()))
        yield name, ray.get_actor(name + CONTROLLER, namespace=namespace)


def scale(run: str | None, workers: int, address: str | None) -> str:
    """Let a run have so many workers from now on; returns its name."""
    if workers < 1:
        remedy = "Give a number above 0, or end the run."
        raise BadInput("N", workers, "a run has one worker at least", remedy)
    with controller_of(run, address) as (name, controller):
        ray.get(controller.scale.remote(workers))
        return name


def stop(run: str | None, address: str | None) -> str:
    """Let a run end now, with a last exchange of each worker and a checkpoint; its name."""
    with controller_of(run, address) as (name, controller):
        ray.get(controller.stop.remote())
        return name


def _running() -> Iterator[tuple[str, str]]:
    """The names of the runs on this cluster, and the namespace of each."""
    named: list[Any] = ray.util.list_named_actors(all_namespaces=True)
    for actor in named:
        if actor["name"].endswith(CONTROLLER):
            yield actor["name"].removesuffix(CONTROLLER), actor["namespace"]


def choose(run: str | None, running: Mapping[str, str]) -> tuple[str, str]:
    """Name and namespace of that run, or of the only one; BadInput where there is none."""
    if run is None and len(running) == 1:
        return next(iter(running.items()))
    if run is not None and run in running:
        return run, running[run]
    known = ", ".join(sorted(running)) or "(none)"
    problem = "several runs are going on" if running and run is None else "there is no such run"
    raise BadInput(
        "RUN",
        run,
        f"{problem} on this cluster",
        f"Going on: {known}. One that has ended is told of by `ray-easgd show FOLDER`.",
    )
