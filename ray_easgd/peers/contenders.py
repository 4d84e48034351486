"""Who takes part, how each is started, and what happens to it when a process of it is lost.

All have the workload's learning rate, where none stands here, and ours that over their pace at it
(``ray_easgd.planner.pace``); a ``Try`` has its own. Nothing was tuned but the average's rate, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

OnLoss = Literal["all", "one", "itself"]
OnGrowth = Literal["all", "more", "itself"]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One peer, or one method of ours.

    ``program``: a module, started once for each worker, or once where ``has_driver``.
    ``environment``: what it needs beside our own packages, by its constraints file.
    ``on_loss`` of a process, who is started again by what its users do: ``all`` from the newest
    snapshot, the lost ``one`` from nothing, or it sees to it ``itself``.
    ``on_growth``, the same of workers to come: ``all`` again from the newest snapshot, so many
    ``more`` beside those who are there, or it sees to it ``itself``.
    ``rolls_back``: what was trained since a checkpoint is lost with a worker.
    ``coordinator``: the process that the others hang on, by the name of its journal.
    ``for_losses``: it differs from another only where somebody is lost or comes.
    ``has_period``: the workload's period says when it exchanges.
    """

    name: str
    program: str
    num_workers: int | None = None
    has_driver: bool = False
    environment: str | None = None
    companions: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    on_loss: OnLoss = "all"
    on_growth: OnGrowth = "all"
    rolls_back: bool = True
    coordinator: str = "worker-0"
    for_losses: bool = False
    has_period: bool = True


YARDSTICK = Contender(name="no_exchange_pair", program="ray_easgd.peers.alone", on_loss="one")


def ours(name: str, step: str, algorithm: Mapping[str, Any], **options: Any) -> Contender:
    """A method of ours, with the local ``step`` and the keys of ``algorithm``.

    The period is the workload's, where a tree's levels have none of their own.
    """
    config = {"algorithm": dict(algorithm), **options.pop("config", {})}
    return Contender(
        name=name,
        program="actors.peers.ours",
        has_driver=True,
        options={"step": step, "config": config, **options},
        on_loss="itself",
        on_growth="itself",
        rolls_back=False,
        coordinator="coordinator",
        has_period="topology" not in config,
    )


def _torchft(name: str, method: str) -> Contender:
    return Contender(
        name=name,
        program="ray_easgd.peers.torchft_replica",
        environment="torchft",
        companions=("ray_easgd.peers.lighthouse",),
        options={"method": method},
        on_loss="one",
        on_growth="more",
        rolls_back=False,
        coordinator="coordinator",
    )


def _ray_train(name: str, report_every: int, *, for_losses: bool = False) -> Contender:
    """With a checkpoint every so many steps, where somebody is lost or comes."""
    return Contender(
        name=name,
        program="actors.peers.ray_train",
        has_driver=True,
        environment="ray_train",
        options={"report_every": report_every},
        on_loss="itself",
        coordinator="coordinator",
        for_losses=for_losses,
        has_period=False,
    )


_AVERAGE = {"average": "moving", "average_rate": 0.03}
_LEVELS = [{"fan_out": 2, "period": 2}, {"fan_out": 1, "period": 8}]

CONTENDERS = (
    Contender(name="one_process", program="ray_easgd.peers.alone", num_workers=1, has_period=False),
    Contender(name="torch_ddp", program="ray_easgd.peers.ddp", has_period=False),
    _ray_train("ray_train_ddp", 100),
    _ray_train("ray_train_ddp_20", 20, for_losses=True),
    _ray_train("ray_train_ddp_500", 500, for_losses=True),
    Contender(name="torch_periodic_averager", program="ray_easgd.peers.averager"),
    Contender(
        name="torch_hierarchical_averager",
        program="ray_easgd.peers.averager",
        options={"groups": [[8, 1], [16, 2]]},
        has_period=False,
    ),
    _torchft("torchft_local_sgd", "local_sgd"),
    _torchft("torchft_diloco", "diloco"),
    Contender(
        name="hivemind_local_updates",
        program="ray_easgd.peers.hivemind_peer",
        environment="hivemind",
        on_loss="one",
        on_growth="more",
        rolls_back=False,
    ),
    ours("easgd", "sgd", {"name": "easgd"}, lr=0.1),
    ours("eamsgd", "nesterov", {"name": "eamsgd"}),
    ours("eamsgd_average", "nesterov", {"name": "eamsgd"}, config={"center": _AVERAGE}),
    ours("eamsgd_int8", "nesterov", {"name": "eamsgd"}, config={"exchange": {"format": "int8"}}),
    ours("diloco_async", "nesterov", {"name": "diloco_async"}),
    ours("downpour", "sgd", {"name": "downpour"}, lr=0.05),
    ours("eamsgd_tree", "nesterov", {"name": "eamsgd"}, config={"topology": {"levels": _LEVELS}}),
)
NAMES = tuple(contender.name for contender in CONTENDERS)
