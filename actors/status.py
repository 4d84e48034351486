"""A run at a glance, asked from outside: its hubs and workers as a tree."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

from actors.hub_status import HubStatus, joined
from actors.runs import controller_of
from actors.sight import hub_node, worker_node
from ray_easgd.display.tree import TreeNode, from_json

if TYPE_CHECKING:
    from actors.words import Census

_WATCH_EVERY_S = 2.0
_ANSWER_S = 5.0  # a stopped process keeps nobody who only looks


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStatus:
    """``samples`` at the center so far, of ``total_samples`` if the run ends by them."""

    run: str
    version: int
    samples: int
    total_samples: int | None
    tree: tuple[TreeNode, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, known: Mapping[str, Any]) -> RunStatus:
        """What ``as_dict`` gave."""
        return cls(**{**known, "tree": tuple(map(from_json, known["tree"]))})


def status(run: str | None, address: str | None) -> RunStatus:
    """Of that run, or of the only one, on that cluster or the one on this machine.

    Raises BadInput where there is no such run, BadCluster where no cluster answers.
    """
    with controller_of(run, address) as (name, controller):
        return read(name, controller)


def watched(run: str | None, address: str | None) -> Iterator[RunStatus]:
    """The same every ``_WATCH_EVERY_S``, until the run ends."""
    with controller_of(run, address) as (name, controller):
        while True:
            try:
                yield read(name, controller)
            except ActorDiedError:
                return
            except ActorUnavailableError:
                pass  # it is coming back
            time.sleep(_WATCH_EVERY_S)


def read(run: str, controller: Any, within_s: float | None = None) -> RunStatus:
    """Ask the controller who is there, and each hub how it is.

    Raises GetTimeoutError where the controller does not answer ``within_s``.
    """
    census: Census = ray.get(controller.census.remote(), timeout=within_s)
    asked = {f"center-{k}": center.status.remote() for k, center in enumerate(census.centers)}
    asked |= {hub.name: hub.handle.status.remote() for hub in census.hubs}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=_ANSWER_S)
    answers = {name: _answer(reference) for name, reference in asked.items()}
    shards = [answer for k in range(len(census.centers)) if (answer := answers[f"center-{k}"])]
    center = joined(shards) if len(shards) == len(census.centers) else None
    hubs = [_as_node(hub.name, hub.parent, answers[hub.name]) for hub in census.hubs]
    root = _as_node("center", "", center)
    rates = {node.name: node.moving_rate for node in (root, *hubs)}
    latest = {w.name: w for w in sorted(census.workers, key=lambda w: w.life)}.values()
    workers = sorted(latest, key=lambda w: (len(w.name), w.name))  # worker-2 before worker-10
    return RunStatus(
        run=run,
        version=root.version,
        samples=center.progress.num_distinct + center.progress.num_repeated if center else 0,
        total_samples=census.total_samples,
        tree=(root, *hubs, *(worker_node(worker, rates) for worker in workers)),
    )


def _as_node(name: str, parent: str, answer: HubStatus | None) -> TreeNode:
    if answer is None:
        return TreeNode(name=name, parent=parent, state=f"no answer within {_ANSWER_S:g} s")
    return replace(hub_node(answer), name=name, parent=parent)


def _answer(reference: Any) -> HubStatus | None:
    if not ray.wait([reference], timeout=0)[0]:
        return None
    try:
        return ray.get(reference)  # type: ignore[no-any-return]
    except RayError:
        return None
