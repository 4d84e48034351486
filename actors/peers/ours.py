"""Our own methods as a contender.

A program: ORDER_FILE. Options: ``config``, keys of the configuration; ``step``, ``nesterov`` or
``sgd``, the built-in local steps. What is tested afterwards is the center, as its checkpoints
keep it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from actors.ahead import ahead
from actors.embedded import OUR_CLUSTERS
from ray_easgd.config import Config
from ray_easgd.display import Progress, Silence
from ray_easgd.errors import EasgdError
from ray_easgd.journal import Journal
from ray_easgd.peers.workload import Order

RUN = "ours"


class Watch(Silence):
    """Writes down which process the center is, and lets the fleet grow when that is told."""

    def __init__(self, order: Order) -> None:
        self._folder, self._known = f"{order.folder}/journals", 0
        self._order, self._has_grown = order, False

    def update(self, progress: Progress) -> None:
        if progress.phase != "training":
            return
        if self._order.grows_to and not self._has_grown and self._order.growth.exists():
            from actors.runs import scale

            scale(RUN, self._order.grows_to, None)
            self._has_grown = True
        from ray._private.state import actors as actor_table  # the one that tells process ids

        pid = center_of(actor_table().values())
        if pid is not None and pid != self._known:
            self._known = pid
            Journal(self._folder, "coordinator").write("coordinator", pid=pid)

    def event(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")


def center_of(rows: Iterable[Mapping[str, Any]]) -> int | None:
    """The process that is the center, of Ray's table of actors: the one that stands by for it has
    a later life."""
    lives = {}
    for row in rows:
        who, _, life = row["Name"].removeprefix(f"{RUN}:").partition(".")
        if who == "center" and row["State"] == "ALIVE":
            lives[int(life or 1)] = int(row["Pid"])
    return lives[min(lives)] if lives else None


def main() -> None:
    path = sys.argv[1]
    order = Order.read(path)
    signal.signal(signal.SIGTERM, _as_interrupt)
    config = config_of(order)
    if order.hosts:
        from actors.peers.apart import start_apart

        start_apart(order, environment=OUR_CLUSTERS)
    with ahead(config, log_to_driver=True):
        from actors.peers.our_loop import train_loop
        from actors.trainer import ElasticTrainer

        trainer = ElasticTrainer(train_loop, train_loop_config={"order": path}, config=config)
        trainer.fit(display=Watch(order), began_at=order.began_at)


def config_of(order: Order) -> Config:
    """The contender's own keys, and what the work asks of all."""
    stop = {"samples": order.workload.samples} if order.workload.samples else {"seconds": 1e6}
    own = order.options["config"]
    period = {} if "topology" in own else {"period": order.workload.period}
    return Config.build(
        {
            **own,
            "algorithm": own["algorithm"] | period,
            "seed": order.workload.seed,
            "batch_size": order.workload.batch_size,
            "fleet": {
                "workers": order.num_workers,
                "gpus_per_worker": 0,
                "cpus_per_worker": order.num_workers / (order.grows_to or order.num_workers),
                "spares": 1 if order.checkpoints and not order.grows_to else 0,  # for losses
            },
            "stop": stop,
            "run": {
                "name": RUN,
                "storage": order.folder,
                "checkpoint_s": order.workload.snapshot_s,
                "keep": 100_000,
            },
        }
    )


def _as_interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        main()
    except EasgdError as error:
        sys.exit(str(error))
