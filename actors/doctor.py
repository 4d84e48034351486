"""Looks at a run that is going on, twice, from outside: the evidence for ``ray_easgd.doctor``.

Nothing here waits for long: who does not answer is evidence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError

from actors import node_probe
from actors.hub_status import HubStatus
from actors.lifecycle import on
from actors.placement import answers
from actors.runs import controller_of
from actors.tables import nodes, processes_of
from actors.words import Census, WorkerStatus
from ray_easgd.doctor.evidence import (
    ChildLook,
    Evidence,
    HubLook,
    Look,
    NodeLook,
    ProcessLook,
    WorkerLook,
)
from ray_easgd.errors import BadInput
from ray_easgd.protocol import ALONE_BY_METHOD

_FIRST_ANSWER_S = 2.0
_ANSWER_S = 5.0
_PROBE_S = 10.0  # a fresh process on a busy machine
_BETWEEN_S = 5.0, 60.0
_STEPS_BETWEEN = 10.0


def examine(
    run: str | None,
    address: str | None,
    *,
    interval_s: float | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Evidence:
    """Two looks at that run, or the only one, ``interval_s`` apart, or as its pace asks for.

    Raises BadInput where there is no such run, BadCluster where no cluster answers.
    """
    with controller_of(run, address) as (name, _):
        _refuse_client(address)
        gatherer = _Gatherer(name)
        first, since = gatherer.look(_FIRST_ANSWER_S)
        gatherer.begin_probes()
        pause(_interval(first) if interval_s is None else interval_s)
        second, now = gatherer.look(_ANSWER_S)
        second = replace(second, nodes=tuple(gatherer.nodes(second.processes)))
        gatherer.close()
        return Evidence(run=name, interval_s=now - since, first=first, second=second)


def _refuse_client(address: str | None) -> None:
    """Over Ray's client protocol its books on actors cannot be read."""
    from ray.util.client import ray as client

    if client.is_connected():
        raise BadInput(
            "address",
            address,
            "Ray's client protocol does not show a run's processes",
            "Give the address of its dashboard, --address=http://HEAD:8265.",
        )


def _interval(look: Look) -> float:
    """Long enough for some steps of a usual worker."""
    rates = [worker.steps_per_s for worker in look.workers if worker.steps_per_s > 0]
    shortest, longest = _BETWEEN_S
    return min(longest, max(shortest, _STEPS_BETWEEN / median(rates))) if rates else shortest


@dataclass(slots=True)
class _Question:
    reference: Any
    asked_at: float


@dataclass
class _Gatherer:
    """One examination. A process is asked anew only once it has answered."""

    run: str
    _open: dict[tuple[str, str], _Question] = field(default_factory=dict)
    _probes: dict[str, Any] = field(default_factory=dict)
    _known: dict[str, ProcessLook] = field(default_factory=dict)

    def look(self, answer_s: float) -> tuple[Look, float]:
        """Ask all who are alive, and take what is answered in time; when they were asked."""
        late, asked_at = set(self._open), time.monotonic()
        self._ask_all()
        self._wait(list(self._open), answer_s)
        said = {key: self._take(key) for key in list(self._open)}
        for key in late:
            said.pop(key, None)  # an old word, if any
        census: Census | None = said.get(("controller", "census"))
        children = {k[0]: v for k, v in said.items() if k[1] == "glance" and v is not None}
        statuses = {k[0]: v for k, v in said.items() if k[1] == "status" and v is not None}
        self._known = {p.name: self._seen(p, children) for p, _ in self._table()}
        seat = {p.name: p.seat or p.name for p in self._known.values()}
        look = Look(
            workers=_newest_lives(census.workers) if census else (),
            children=tuple(children.values()),
            hubs=tuple(_hub(seat[n], s) for n, s in statuses.items() if n in seat),
            processes=tuple(self._known.values()),
        )
        return look, asked_at

    def begin_probes(self) -> None:
        """Have a process started on each node that the run is on: nobody waits for it yet."""
        cloudpickle.register_pickle_by_value(node_probe)
        try:
            for node in {p.node for p in self._known.values() if p.node and p.state == "alive"}:
                pids = [p.pid for p in self._known.values() if p.node == node and p.pid]
                task: Any = ray.remote(
                    num_cpus=0, max_retries=0, scheduling_strategy=on(node)
                )(node_probe.probe)  # fmt: skip
                self._probes[node] = task.remote(pids)
        finally:
            cloudpickle.unregister_pickle_by_value(node_probe)

    def nodes(self, processes: Iterable[ProcessLook]) -> list[NodeLook]:
        """The cluster's nodes, with what the probes say of those that the run is on."""
        silent = {p.node for p in processes if p.unanswered_s}
        probes = list(self._probes.values())
        if probes:
            ray.wait(probes, num_returns=len(probes), timeout=_PROBE_S)
        seen = []
        for node in nodes():
            found = _answer(self._probes.get(node.id)) or {}
            reachable = node.id not in silent or bool(found) or answers(node.id)
            seen.append(replace(node, is_reachable=reachable, **found))
        return seen

    def close(self) -> None:
        """Leave nothing behind that waits on a node that does not answer."""
        for probe in self._probes.values():
            if not ray.wait([probe], timeout=0)[0]:
                ray.cancel(probe, force=True)

    def _table(self) -> list[tuple[ProcessLook, str]]:
        return list(processes_of(self.run).values())

    def _ask_all(self) -> None:
        for process, namespace in self._table():
            if process.state != "alive":
                continue
            for what in _questions(process):
                if (process.name, what) in self._open:
                    continue
                try:
                    actor: Any = ray.get_actor(f"{self.run}:{process.name}", namespace=namespace)
                except ValueError:
                    continue  # it died since
                asked = getattr(actor, what).remote()
                self._open[process.name, what] = _Question(asked, time.monotonic())

    def _wait(self, keys: list[tuple[str, str]], timeout_s: float) -> bool:
        """Whether all of them were answered in time."""
        asked = [self._open[key].reference for key in keys]
        if not asked:
            return True
        return not ray.wait(asked, num_returns=len(asked), timeout=timeout_s)[1]

    def _take(self, key: tuple[str, str]) -> Any:
        """An answer; None where there is none yet, or never will be."""
        question = self._open[key]
        if not ray.wait([question.reference], timeout=0)[0]:
            return None
        del self._open[key]
        return _answer(question.reference)

    def _seen(self, process: ProcessLook, children: dict[str, ChildLook]) -> ProcessLook:
        now = time.monotonic()
        since = [q.asked_at for (name, _), q in self._open.items() if name == process.name]
        if process.state == "alive" and since:
            process = replace(process, unanswered_s=now - min(since))
        child = children.get(process.name)
        return replace(process, seat=child.name) if child and process.kind == "spare" else process


def _questions(process: ProcessLook) -> tuple[str, ...]:
    match process.kind:
        case "worker" | "spare":
            return ("glance",)
        case "hub":
            return ("status", "glance") if process.name.startswith("aggregator") else ("status",)
        case "controller":
            return ("census",)
        case _:
            return ()


def _answer(reference: Any) -> Any:
    """None where it failed, or is not there."""
    if reference is None or not ray.wait([reference], timeout=0)[0]:
        return None
    try:
        return ray.get(reference)
    except RayError:
        return None


def _newest_lives(workers: Iterable[WorkerStatus]) -> tuple[WorkerLook, ...]:
    newest = {w.name: w for w in sorted(workers, key=lambda w: w.life)}
    return tuple(_worker(status) for _, status in sorted(newest.items()))


def _worker(status: WorkerStatus) -> WorkerLook:
    return WorkerLook(
        name=status.name,
        life=status.life,
        device=status.device,
        step=status.step,
        steps_per_s=status.steps_per_s,
        exchanges=status.exchanges,
        restarts=status.restarts,
        loss=status.loss,
        distance=status.distance,
        staleness=status.staleness,
    )


def _hub(name: str, status: HubStatus) -> HubLook:
    return HubLook(
        name=name,
        version=status.version.count,
        num_parameters=status.num_parameters,
        sharing=status.sharing,
        lacks_memory="" if status.why_alone == ALONE_BY_METHOD else status.why_alone,
    )
