"""A training run under faults, and the proof that it lost nothing it may not lose.

docs/guarantees.md says what a loss may cost; here it is done and counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import ray
import torch

from actors.cluster import num_spares
from actors.embedded import start_ray
from actors.local_nodes import LocalNode, start_node
from actors.nursery import nursery
from actors.torment import Tormentor
from actors.trainer import ElasticTrainer, updated
from ray_easgd.audit import Account, Audit, audit
from ray_easgd.config import Config
from ray_easgd.display import Silence
from ray_easgd.errors import BadConfig
from ray_easgd.incidents import KINDS, Aftermath, aftermath, schedule
from ray_easgd.journal import Journals
from ray_easgd.kernels import Checksum
from ray_easgd.planner.probe import probe
from ray_easgd.recipe import algorithm_of
from ray_easgd.resumption import found
from ray_easgd.run_folder import RunFolder

_NUM_NODES = 2
_AT_MOST_S = 540.0
_STEPS_PER_S = 25.0  # of each worker, at most
_CORES = 0.7  # that all workers use: with all at work, who comes back would be late for that alone
_POLITE = {"RAY_worker_niceness": "10"}
"""A node of Ray's ends itself where its own processes are not up within 15 seconds, for which they
need a processor; and chaos starts nodes while others import torch."""
_TREE_ONLY = {"aggregator_kill"}
_NODES_ONLY = {"node_loss", "drain"}

_NOT_TAKEN = {"duplicate", "refused", "gap"}
"""Answers to a push that was applied before; a successor that has to hear earlier ones first says
``gap``."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ChaosOptions:
    """``kinds`` of faults, each ``rounds`` times in an order drawn from the run's seed.

    ``stop_s``: how long a stopped worker is stopped. ``compare``: train once more undisturbed;
    ``tolerance`` is how far below that the accuracy may be.
    """

    kinds: Sequence[str] = KINDS
    rounds: int = 1
    stop_s: float = 5.0
    compare: bool = True
    tolerance: float = 0.02


def run_chaos(config: Config, options: ChaosOptions, *, tell: Tell) -> dict[str, Any]:
    """The JSON object of ``ray-easgd chaos``; ``invariants`` says what held.

    Where this process is connected to a cluster the run is there, and its nodes are let alone;
    else, whatever RAY_ADDRESS says, on one of its own: a head for the center, and two nodes on
    this machine.
    """
    config = _prepared(config)
    with _nodes(config) as nodes, TemporaryDirectory(prefix="easgd-chaos-", dir="/tmp") as folder:
        without = set() if nodes else _NODES_ONLY
        if not nodes and not config.topology.levels[1:]:
            without = _NODES_ONLY | _TREE_ONLY
        kinds = [kind for kind in options.kinds if kind not in without]
        plan = schedule(kinds, options.rounds, config.seed)
        tell(f"chaos: {len(plan)} faults: {', '.join(plan)}")
        journals = Journals(folder)
        config = updated(config, "run", journal=folder)
        tormentor = Tormentor(
            config.run.name or "",
            plan,
            journals=journals,
            nodes=nodes,
            num_workers=config.fleet.bounds[0] if config.fleet.bounds else 1,
            num_cpus=_cpus_per_node(config),
            stop_s=options.stop_s,
            has_spares=bool(num_spares(config)),
            stops=config.stop.samples is None,
            seed=config.seed,
            tell=tell,
        )
        tormentor.begin()
        try:
            result = ElasticTrainer(config=config).fit(display=Silence())
        finally:
            tormentor.end()
        journals.look()
        left = _left_behind(config.run.name or "", journals)
        found_out = audit(journals.all(), _account(RunFolder.open(result.path), config))
        after = aftermath(journals.all(), tormentor.incidents)
        verdict = _verdict(plan, tormentor, found_out, after, left, result.metrics)
        if options.compare and verdict["invariants"]["everybody_came_back"]:  # else no room for it
            calm = _undisturbed(config, result.metrics["samples"], tell)["test_accuracy"]
            found = verdict["test_accuracy"]
            verdict["undisturbed_accuracy"] = calm
            verdict["invariants"]["accuracy_held"] = (
                calm is not None and found is not None and found >= calm - options.tolerance
            )
    if config.stop.samples is not None:  # else what was handed out at its end is missed
        verdict["invariants"]["no_data_is_missed"] = result.metrics["samples_missed"] == 0
    return verdict


def _verdict(
    plan: Sequence[str],
    tormentor: Tormentor,
    found_out: Audit,
    after: Aftermath,
    left: Sequence[str],
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    done = [incident.kind for incident in tormentor.incidents if not incident.failed]
    failed = [incident.failed for incident in tormentor.incidents if incident.failed]
    invariants = found_out.invariants | {
        "the_dead_are_refused": not _unexpected("late", tormentor.late, {"refused"}),
        "doubles_are_dropped": not _unexpected("doubled", tormentor.doubled, _NOT_TAKEN),
        "everybody_came_back": not failed and sorted(done) == sorted(plan),
        "nobody_waited": not after.who_waited,
        "nothing_is_left_behind": not left,
    }
    not_done = [kind for kind in plan if kind not in done]
    return {
        "faults": {kind: done.count(kind) for kind in KINDS},
        "invariants": invariants,
        "findings": [
            *found_out.findings,
            *_unexpected("late", tormentor.late, {"refused"}),
            *_unexpected("doubled", tormentor.doubled, _NOT_TAKEN),
            *failed,
            *after.who_waited,
            *left,
            *(f"there was no time for {kind}" for kind in not_done if not failed),
        ],
        "pushes_sent": found_out.pushes_sent,
        "pushes_applied": found_out.pushes_applied,
        "pushes_refused": tormentor.late.count("refused"),
        "pushes_doubled": len(tormentor.doubled),
        "pushes_written_off": found_out.pushes_written_off,
        "samples": metrics["samples"],
        "samples_repeated": metrics["samples_repeated"],
        "samples_missed": metrics["samples_missed"],
        "step_rate_ratio": after.step_rate_ratio,
        "step_gap_ratio": after.step_gap_ratio,
        "replacement_first_step_s": after.replacement_first_step_s,
        "exchange_gap_s": after.exchange_gap_s,
        "test_accuracy": metrics["test_accuracy"],
        "undisturbed_accuracy": None,
        "median_push_norm": found_out.median_push_norm,
        "ledger_gap": found_out.ledger_gap,
        "ledger_rounding": found_out.rounding,
        "wall_s": metrics["wall_s"],
        "path": metrics["path"],
    }


def _unexpected(what: str, outcomes: Sequence[str], right: set[str]) -> list[str]:
    """Answers to the pushes that were sent once more, but the right ones."""
    return [f"a {what} push was answered: {answer}" for answer in outcomes if answer not in right]


def _prepared(config: Config) -> Config:
    """With the ledger on, a spare, and what the audit can follow; BadConfig for what it cannot."""
    algorithm = algorithm_of(config)
    if algorithm.conserves == "none" or algorithm.sequential or algorithm.rounds != "none":
        raise BadConfig(
            "algorithm.name",
            algorithm.name,
            "its center is not its start plus all pushes, or its workers wait by definition",
            "Take easgd or eamsgd, for one.",
        )
    formats = [level.format or "float32" for level in config.topology.levels]
    for field, value, one in (
        ("exchange.format", config.exchange.format, "float32"),
        ("exchange.fragments", config.exchange.fragments, 1),
        ("center.shards", config.center.shards, 1),
        *((f"topology.levels.{k}.format", f, "float32") for k, f in enumerate(formats)),
    ):
        if value != one:
            raise BadConfig(field, value, "the audit follows whole vectors", f"Set it to {one}.")
    if config.address not in (None, "local"):
        raise BadConfig(
            "address",
            config.address,
            "chaos kills processes and nodes of a cluster of its own, on this machine",
            "Leave it away.",
        )
    fleet = config.fleet
    workers = fleet.workers or 4
    spares = 1 if fleet.spares is None else fleet.spares
    config = updated(config, "fleet", workers=workers, spares=spares)
    if fleet.steps_per_s is None:
        config = updated(config, "fleet", steps_per_s=_pace(config))
    config = updated(config, "exchange", ledger=True)
    if config.run.name is None:
        config = updated(config, "run", name=f"chaos-{os.getpid()}")
    if (config.stop.samples, config.stop.seconds) == (None, None):
        config = updated(config, "stop", seconds=_AT_MOST_S)  # it is stopped when all is done
    return config


def _pace(config: Config) -> float:
    """Steps a second of each worker that leave most of this machine to Ray."""
    fewest = (config.fleet.bounds or (4, 4))[0]
    busy_s = probe(config, curved=False).step_s * max(1, fewest)
    return min(_STEPS_PER_S, _CORES / busy_s)


@contextmanager
def _nodes(config: Config) -> Iterator[list[LocalNode]]:
    """Two nodes that may be taken away; none on a cluster that is not our own."""
    if ray.is_initialized():
        yield []
        return
    os.environ.update(_POLITE)
    nodes: list[LocalNode] = []
    with nursery():
        start_ray(num_cpus=0)  # center and controller are beside the driver, workers are not
        try:
            for _ in range(_NUM_NODES):
                nodes.append(start_node(_cpus_per_node(config)))  # noqa: PERF401  (ends all)
            yield nodes
        finally:
            for node in nodes:
                node.kill()
            ray.shutdown()


def _cpus_per_node(config: Config) -> float:
    """Room for half the workers, and for one that joins."""
    fewest = (config.fleet.bounds or (4, 4))[0]
    return (-(-fewest // _NUM_NODES) + 1) * config.fleet.cpus_per_worker


def _account(folder: RunFolder, config: Config) -> Account:
    """The center's word in the end."""
    kept = found(folder, config, algorithm_of(config).name, lambda _: None)
    assert kept is not None, "a run that has ended has a checkpoint"
    (hub,) = kept.hubs
    vector = torch.from_numpy(hub.vector.copy())
    return Account(
        version=hub.version,
        checksum=Checksum(vector.numel(), config.seed)(vector),
        norm=float(vector.norm()),
        applied=hub.applied,
        samples=hub.progress.num_distinct,
    )


def _left_behind(run: str, journals: Journals) -> list[str]:
    """Processes and names of the run that are still there."""
    named = ray.util.list_named_actors()
    pids = {pid for _, pid in journals.latest if os.path.exists(f"/proc/{pid}")}  # noqa: PTH110
    return [
        *(f"actor {name} is still there" for name in named if name.startswith(f"{run}:")),
        *(f"process {pid} is still there" for pid in sorted(pids)),
    ]


def _undisturbed(config: Config, samples: int, tell: Tell) -> Mapping[str, Any]:
    """The same on as many samples, and nothing happens to it."""
    tell(f"chaos: the same without faults, on {samples:,} samples")
    config = updated(config, "run", name=f"{config.run.name}-undisturbed", journal=None)
    config = updated(config, "stop", samples=samples, seconds=None)
    config = updated(config, "fleet", steps_per_s=None)
    return ElasticTrainer(config=config).fit(display=Silence()).metrics
