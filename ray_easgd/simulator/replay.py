"""Run a recorded trace again: the same workers, the same center, to the bit.

Each life takes the steps it took, on the batches it took them on, meets its hub at the clock it
did, with the version it had; each hub applies the pushes in the order it did, and an aggregator
meets its parent between the same two of them. The objects are those
that ran: ``Hub``, ``Elastic``, the local step, the loop's own step. The first push whose checksum
is not the recorded one is named.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from ray_easgd.aggregator import Aggregator
from ray_easgd.config import Config
from ray_easgd.edges import hub_options, tie_options
from ray_easgd.hub import Hub, HubOptions
from ray_easgd.ports import Silent
from ray_easgd.protocol import PushHeader, Version
from ray_easgd.recipe import algorithm_of
from ray_easgd.session import worker_seed
from ray_easgd.simulator.replay_hubs import (
    Child,
    ReplayedAggregator,
    ReplayedHub,
    UpLink,
    cannot,
)
from ray_easgd.simulator.replay_worker import ReplayedWorker, WorkerLink, check
from ray_easgd.simulator.virtual_run import OnProgress, simulate
from ray_easgd.trace import (
    CENTER,
    Pushed,
    Trace,
    fingerprint,
    read_trace,
)


def replay(path: str, *, on_progress: OnProgress | None = None) -> dict[str, Any]:
    """Run the trace at ``path`` again; ``same_center`` says whether it ended in the same bits.

    Raises BadStorage for what is no trace, or one that cannot be run again (a loop of the user's
    own, a worker that started anew from non-finite numbers), and says so.
    """
    trace = read_trace(path)
    config, astray = Config.build(trace.config), None
    if trace.kind == "simulated":
        again = simulate(config, on_progress=on_progress)["center_sha256"]
    elif trace.kind == "task":
        _refuse_other_trees(path, config)
        run = _Replay(path, trace, config)
        again, astray = fingerprint(run.run(on_progress)), run.first_difference
    else:
        raise cannot(path, "it is of a loop of your own, which the trace does not hold")
    return {
        "trace": path,
        "kind": trace.kind,
        "algorithm": config.algorithm.name,
        "pushes": sum(isinstance(record, Pushed) for record in trace.records),
        "center_sha256": again,
        "recorded_sha256": trace.center_sha256,
        "same_center": again == trace.center_sha256,
        "first_difference": astray,
    }


class _Replay:
    """All of a run: its center leads, and whoever it waits for comes so far."""

    def __init__(self, path: str, trace: Trace, config: Config) -> None:
        self.config, self.algorithm, self.path = config, algorithm_of(config), path
        self._trace = trace
        plain = config.center.model_copy(update={"average": "none"})
        self._plain = config.model_copy(update={"center": plain})
        self.births: Counter[str] = Counter()
        self.first_difference: str | None = None
        hub = Hub(self._options(0))
        self._hubs = {CENTER: ReplayedHub(self, CENTER, trace.records, hub, depth=0)}

    def run(self, on_progress: OnProgress | None) -> Tensor:
        """All of the center's records, in order; the center they end in."""
        torch.set_num_threads(1)  # as workers do: a sum over threads has other bits
        root, num = self._hubs[CENTER], len(self._trace.records)
        for k in range(num):
            root.go_on()
            if on_progress is not None:
                on_progress((k + 1) / num, f"{root.hub.version.count:,} pushes")
        if root.hub.vector is None:
            raise cannot(self.path, "nobody ever joined")
        return root.hub.vector

    def child(self, name: str, parent: ReplayedHub, pushes: list[PushHeader]) -> Child:
        """A life of a hub's child: a worker's, or an aggregator's under its parent."""
        if name in self._trace.hubs:
            if name not in self._hubs:
                self._hubs[name] = self._aggregator(name, parent)
            aggregator = self._hubs[name]
            assert isinstance(aggregator, ReplayedAggregator)
            aggregator.begin(pushes)
            return aggregator
        check(self.path, pushes)
        self.births[name] += 1
        life = self.births[name]
        seed = worker_seed(self.config.seed, int(name.rpartition("-")[2]), life)
        options = tie_options(
            self.config, self.algorithm, parent.depth, is_worker=True, traced=True
        )
        link, offset = WorkerLink(parent, name, pushes), self._trace.offsets.get((name, life), 0)
        return ReplayedWorker(self.config, options, link, seed, schedule_offset=offset)

    def differs(self, hub: str, header: PushHeader, version: Version) -> None:
        """A push is not the one that was recorded: the first one is named."""
        if self.first_difference is None:
            where = "" if hub == CENTER else f" of {hub}"
            self.first_difference = (
                f"push {header.sequence} of incarnation {header.incarnation}, which made version "
                f"{version}{where}"
            )

    def _aggregator(self, name: str, parent: ReplayedHub) -> ReplayedAggregator:
        link, depth, config = UpLink(parent, name), parent.depth + 1, self.config
        options = tie_options(config, self.algorithm, parent.depth, is_worker=False, traced=True)
        hub = Aggregator(name, self._options(depth), link, options, Silent())
        records = self._trace.hubs[name]
        return ReplayedAggregator(self, name, records, hub, depth=depth, link=link)

    def _options(self, depth: int) -> HubOptions:
        return hub_options(self._plain, self.algorithm, depth)


def _refuse_other_trees(path: str, config: Config) -> None:
    algorithm, levels = algorithm_of(config), config.topology.levels
    if algorithm.exchange.one_way:
        raise cannot(path, "one-way messages leave no exchange to compare with")
    if levels[1:] and (algorithm.conserves != "sum" or algorithm.rounds != "none"):
        raise cannot(path, f"of trees only those of easgd and eamsgd can, not {algorithm.name}")
