"""Rules about processes: who is stopped, dead, stuck, slow, or never got going."""

from __future__ import annotations

from collections.abc import Iterator

from ray_easgd.doctor.evidence import ChildLook, Evidence, ProcessLook
from ray_easgd.doctor.finding import Finding, listed, median_of_others

_FEW_STEPS = 5.0  # expected between two looks; with fewer, none at all may be chance
_MANY_STEPS = 20.0
_SLOWER = 4.0  # than the others' median
_STARTING_S = 60.0  # imports take half a minute on a busy machine


def controller_stopped(evidence: Evidence) -> Iterator[Finding]:
    """It is asked for data, and for who belongs to the run."""
    for process in evidence.second.processes:
        if process.kind == "controller" and process.unanswered_s:
            yield Finding(
                cause="controller_stopped",
                subject="controller",
                evidence=f"{_silence(evidence, process)}. Workers that need new data wait for it, "
                "and nobody knows who belongs to the run: numbers of workers are missing here.",
                remedy=f"{_wake(evidence, process)}: Ray starts it again, as it does after 30 s of "
                "silence, and the run's driver tells it what it knew.",
            )


def hub_dead(evidence: Evidence) -> Iterator[Finding]:
    """The center or an aggregator whose process ended, and that has no successor yet."""
    for hub in evidence.second.processes:
        if hub.kind != "hub" or hub.state != "dead" or _has_successor(evidence, hub.seat):
            continue
        children = [c.name for c in evidence.second.children if hub.seat in _hubs_of(c)]
        below = f"{listed(children)} step on, and exchange with nobody" if children else ""
        yield Finding(
            cause="hub_dead",
            subject=hub.seat,
            evidence=f"the process of {hub.seat} is dead ({hub.death or 'cause unknown'}) and no "
            f"successor is there yet{'; ' if below else ''}{below} until then.",
            remedy="The run's driver starts a successor within seconds, which goes on as "
            "docs/guarantees.md says; look again in half a minute. If it is still missing then, "
            "the driver itself is stopped or has no node for it: see its output.",
        )


def hub_stopped(evidence: Evidence) -> Iterator[Finding]:
    """The center or an aggregator that is alive to Ray and does not answer."""
    for hub in evidence.second.processes:
        if hub.kind != "hub" or hub.state != "alive" or not hub.unanswered_s:
            continue
        children = [
            child.name
            for child in evidence.second.children
            for edge in child.edges
            if edge.hub == hub.seat and not edge.in_memory
        ]
        waiting = f" Exchanges of {listed(children)} wait for it." if children else ""
        yield Finding(
            cause="hub_stopped",
            subject=hub.seat,
            evidence=f"{_silence(evidence, hub)}.{waiting} Gradient steps go on.",
            remedy=f"{_wake(evidence, hub)}: a successor then takes its place, as one does by "
            "itself after 30 s of silence.",
        )


def worker_stopped(evidence: Evidence) -> Iterator[Finding]:
    """A worker that is alive to Ray, does not answer, and does not step as usual."""
    moved = evidence.moved
    for process in evidence.second.processes:
        if process.kind not in ("worker", "spare") or process.state != "alive":
            continue
        name = process.seat or process.name
        if not process.unanswered_s or _keeps_pace(evidence, name):
            continue
        steps = f" took {moved[name]} steps in {evidence.interval_s:.1f} s" if name in moved else ""
        others = {other: n for other, n in moved.items() if other != name}
        waiting = [c.name for c in evidence.second.children if c.waits and not moved.get(c.name)]
        yield Finding(
            cause="worker_stopped",
            subject=name,
            evidence=f"{name}{steps}{_while_others(others)}: {_silence(evidence, process)}."
            + (f" {listed(waiting)} wait for it, as their method does." if waiting else ""),
            remedy=f"{_wake(evidence, process)}: its seat and its data then go to another.",
        )


def worker_stuck(evidence: Evidence) -> Iterator[Finding]:
    """A worker whose process answers, and whose loop takes no step."""
    moved = evidence.moved
    stopped = any(p.unanswered_s for p in evidence.second.processes)
    for worker in evidence.second.workers:
        _, child = evidence.child(worker.name)
        expected = worker.steps_per_s * evidence.interval_s
        if moved.get(worker.name) != 0 or not worker.step or expected < _FEW_STEPS:
            continue
        if child is None or (child.waits and stopped):
            continue  # who is stopped is the cause
        others = {other: n for other, n in moved.items() if other != worker.name}
        yield Finding(
            cause="worker_stuck",
            subject=worker.name,
            evidence=f"{worker.name} took no step in {evidence.interval_s:.1f} s, where "
            f"{expected:.0f} are usual for it{_while_others(others)}. Its process answers"
            + (f"; its loop is at {child.doing}." if child.doing else "."),
            remedy="Look at that place: data that does not come, a lock, an evaluation inside the "
            f"loop. `py-spy dump --pid {_pid(evidence, worker.name)}` shows more.",
        )


def worker_lost(evidence: Evidence) -> Iterator[Finding]:
    """Workers that died between the looks, by no wish of the run's."""
    before = {p.name for p in evidence.first.processes if p.state == "dead"}
    for process in evidence.second.processes:
        if process.kind != "worker" or process.state != "dead" or process.name in before:
            continue
        ends = sum(
            p.kind == "worker" and p.seat == process.seat and p.state == "dead" and bool(p.death)
            for p in evidence.second.processes
        )
        if process.death:
            yield Finding(
                cause="worker_lost",
                subject=process.seat,
                evidence=f"{process.seat} died in these {evidence.interval_s:.1f} s: "
                f"{process.death}. That is death {ends} of this seat.",
                remedy="Its seat is filled again by itself. If it goes on dying, read its log in "
                "Ray's dashboard; memory is the usual cause.",
            )


def worker_starting(evidence: Evidence) -> Iterator[Finding]:
    """A worker that has been there for long, and has not taken its first step."""
    stepped = {worker.name for worker in evidence.second.workers if worker.step}
    for process in evidence.second.processes:
        is_worker = process.kind == "worker" and process.state == "alive"
        if not is_worker or process.seat in stepped or process.unanswered_s:
            continue
        _, child = evidence.child(process.seat)
        if process.age_s < _STARTING_S or child is None or child.clock:
            continue
        yield Finding(
            cause="worker_starting",
            subject=process.seat,
            evidence=f"{process.seat} has been there for {process.age_s:.0f} s and has not taken "
            "its first step" + (f"; its loop is at {child.doing}." if child.doing else "."),
            remedy="Look at that place: imports, data that is read or downloaded, a model that is "
            f"compiled. `py-spy dump --pid {process.pid}` shows more.",
        )


def worker_slow(evidence: Evidence) -> Iterator[Finding]:
    """A worker far behind the others' pace. It holds nobody up, unless the method waits."""
    moved = evidence.moved
    for name, steps in moved.items():
        usual = median_of_others(moved, name)
        if len(moved) < 3 or not steps or usual is None or usual < _MANY_STEPS:
            continue
        if steps * _SLOWER > usual:
            continue
        _, worker = evidence.worker(name)
        node = evidence.node_of(evidence.process_of(name))
        load = f"; load {node.load:.1f} on {node.cores} cores" if node.cores else ""
        yield Finding(
            cause="worker_slow",
            subject=name,
            evidence=f"{name} took {steps} steps in {evidence.interval_s:.1f} s, the others "
            f"{usual:g} (median). It runs on {worker.device if worker else '?'} of node "
            f"{node.name}{load}.",
            remedy="Nobody waits for it (unless the method does, `ray-easgd methods`): it only "
            "adds little. See what else runs on that node, or leave it out: "
            "`ray-easgd scale` with one worker less.",
        )


RULES = (
    controller_stopped,
    hub_dead,
    hub_stopped,
    worker_stopped,
    worker_stuck,
    worker_lost,
    worker_starting,
    worker_slow,
)


def _silence(evidence: Evidence, process: ProcessLook) -> str:
    """Since when it does not answer, and what its machine says of it."""
    node = evidence.node_of(process)
    known = node.processes.get(process.pid, "")
    words = f"process {process.pid} on node {node.name} has not answered for "
    words += f"{process.unanswered_s:.1f} s"
    if not node.is_reachable:
        return f"{words}, nor does the node: the machine or the line to it is gone"
    return f"{words}, and the machine says that it is {known}" if known else words


def _wake(evidence: Evidence, process: ProcessLook) -> str:
    node = evidence.node_of(process)
    if not node.is_reachable:
        return f"Ray gives node {node.name} up in a minute at most, or end it"
    known = node.processes.get(process.pid, "")
    end = f"`kill -9 {process.pid}` on node {node.name}"
    if known.startswith("stopped"):
        return f"Let it go on with `kill -CONT {process.pid}` on node {node.name}, or end it, {end}"
    return (
        f"See what it does, `py-spy dump --pid {process.pid}` on node {node.name}, or end it, {end}"
    )


def _keeps_pace(evidence: Evidence, name: str) -> bool:
    """Whether it steps all the same; its last report may come in after it was stopped."""
    _, worker = evidence.worker(name)
    usual = worker.steps_per_s * evidence.interval_s if worker else 0.0
    return evidence.moved.get(name, 0) > usual / 2


def _while_others(moved: dict[str, int]) -> str:
    if not moved:
        return ""
    told = listed(f"{name} {steps}" for name, steps in moved.items())
    return f" while others took steps: {told}" if any(moved.values()) else ", nor did any other"


def _has_successor(evidence: Evidence, seat: str) -> bool:
    return any(p.seat == seat and p.state != "dead" for p in evidence.second.processes)


def _hubs_of(child: ChildLook) -> set[str]:
    return {edge.hub for edge in child.edges}


def _pid(evidence: Evidence, name: str) -> int:
    process = evidence.process_of(name)
    return process.pid if process else 0
