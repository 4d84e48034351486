"""``benchmark peers``: contenders one after the other, each beside the no-exchange pair."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from actors.benchmark.cases import line_rate
from actors.benchmark.namespaces import WIRE, Host, bytes_received, linked_hosts
from actors.cluster import SLOW_LINES
from actors.peers.ours import RUN
from ray_easgd import strict_json
from ray_easgd.errors import BadInput, EasgdError, Unavailable
from ray_easgd.peers.contenders import CONTENDERS, YARDSTICK, Contender
from ray_easgd.peers.environments import python_of
from ray_easgd.peers.evaluation import scores_of, snapshots_of
from ray_easgd.peers.rows import Row, empty_row, medians, row_of
from ray_easgd.peers.scenes import PACED, Scene, paced, scene_of
from ray_easgd.peers.trial import OWN_PYTHON, Here, Place, Plan, Trial
from ray_easgd.peers.tries import Try, read_try
from ray_easgd.peers.workload import Workload

Tell = Callable[[str], None]

_ROOT = Path(__file__).parents[2]
_FAST_LINE = line_rate("1gbit")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_EQUAL = {
    "RAY_worker_niceness": "0",  # default 15, which no other contender would have
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}


@dataclass(frozen=True, kw_only=True)
class PeersOptions:
    """``only``: contenders, as ``read_try`` reads them; empty for all.

    ``pair_s``: how long the no-exchange pair is timed before and after each contender.
    """

    scene: str = "a"
    only: Sequence[str] = ()
    seeds: int = 1
    workload: Workload = Workload()  # noqa: RUF009  (frozen)
    seconds: float | None = None
    target: float = 0.88
    pair_s: float = 8.0
    keep: str | None = None
    link: str = "100mbit"


def run_peers(options: PeersOptions, *, tell: Tell) -> dict[str, Any]:
    """Each contender once a seed, interleaved, and tested afterwards.

    One that cannot take part has a row that says why.
    """
    scene = scene_of(options.scene, options.workload, seconds=options.seconds)
    if scene.name in PACED and not options.pair_s:
        problem = f"scene {scene.name} takes the slow step from the pair's pace"
        raise BadInput("--pair-s", 0, problem, "Take 5 or more.")
    chosen = [read_try(text) for text in options.only] or _all_in(scene)
    with _folder(options.keep) as folder, _place(options) as place:
        series = _Series(scene, options, folder, place, tell)
        rows = [row for seed in range(options.seeds) for row in series.round(chosen, seed)]
    return {
        "scene": options.scene,
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "data": scene.workload.data,
        "model": scene.workload.model,
        "link": options.link if options.scene == "b" else None,
        "samples": scene.workload.samples,
        "seconds": scene.plan.seconds,
        "target": options.target,
        "seeds": options.seeds,
        "rows": rows,
        "medians": medians(rows),
    }


def _all_in(scene: Scene) -> list[Try]:
    with_losses = bool(scene.plan.strikes or scene.plan.growth)
    return [Try(contender=c) for c in CONTENDERS if with_losses or not c.for_losses]


class Apart:
    """Each worker on a host of its own, at the ends of a capped link."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self.hosts = tuple(asdict(host) for host in hosts)

    def command(self, rank: int, words: Sequence[str]) -> list[str]:
        return self._hosts[rank].command(*words)

    def bytes_between(self) -> int:
        return sum(map(bytes_received, self._hosts))


@contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    """Where trials write. Paths below it are short enough for Ray's sockets if it is ours."""
    if keep is not None:
        folder = Path(keep).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BadInput("--keep", keep, "there is something in it", "Name a new folder.")
        yield folder
        return
    with TemporaryDirectory(prefix="easgd-peers-", dir="/tmp") as own:
        yield Path(own)


@contextmanager
def _place(options: PeersOptions) -> Iterator[Place]:
    if options.scene != "b":
        yield Here()
        return
    with linked_hosts(options.link) as hosts:
        yield Apart(hosts)


class _Series:
    def __init__(
        self, scene: Scene, options: PeersOptions, folder: Path, place: Place, tell: Tell
    ) -> None:
        self._scene, self._options, self._folder, self._tell = scene, options, folder, tell
        self._place, self._number = place, 0
        self._environment = environment_of(options.link if options.scene == "b" else None)

    def round(self, tries: Sequence[Try], seed: int) -> list[Row]:
        """All of them once, in an order that is turned from seed to seed."""
        turn = seed % max(1, len(tries))
        rows = []
        before = self._pair(seed)
        for chosen in (*tries[turn:], *tries[:turn]):
            work = replace(chosen.work(self._scene.workload), seed=seed)
            if self._scene.name in PACED:
                work = paced(self._scene.name, work, before / work.num_workers)
            row = self._trial(chosen.contender, work, self._scene.plan)
            after = self._pair(seed)
            pair = (before + after) / 2
            row["pair_samples_per_s"] = pair
            if row["samples_per_s"] is not None and pair:
                row["vs_pair"] = row["samples_per_s"] / pair
            before = after
            rows.append(row)
            with (self._folder / "rows.jsonl").open("a", encoding="utf-8") as file:
                file.write(strict_json.dumps(row) + "\n")  # a series may be interrupted
            self._tell(f"peers: {_line(row)}")
        return rows

    def _pair(self, seed: int) -> float:
        """Samples per second of the yardstick, for some seconds; 0 where it is not wanted."""
        if not self._options.pair_s:
            return 0.0
        work = replace(self._scene.workload, samples=None, seed=seed)
        row = self._trial(YARDSTICK, work, Plan(seconds=self._options.pair_s), is_tested=False)
        if row["samples_per_s"] is None:
            raise EasgdError(f"two plain processes do not train: {row['reason']}")
        return float(row["samples_per_s"])

    def _trial(
        self, contender: Contender, work: Workload, plan: Plan, *, is_tested: bool = True
    ) -> Row:
        self._number += 1
        kind = contender.name.partition(":")[0]  # the rest is nothing for a path
        folder = self._folder / f"{self._number:03d}-{kind}"
        folder.mkdir()
        try:
            name = contender.environment
            python = OWN_PYTHON if name is None else python_of(name, self._tell)
        except Unavailable as error:
            row = empty_row(contender.name, self._scene.name, work.seed)
            return row | {"reason": error.reason}
        trial = Trial(
            contender,
            work,
            plan,
            folder=folder,
            python=python,
            environment=self._environment,
            place=self._place,
        )
        target = self._options.target if is_tested else None
        return tested(trial, scene=self._scene.name, target=target)


def tested(trial: Trial, *, scene: str, target: float | None) -> Row:
    """Run it, and test what it left; None tests nothing."""
    outcome = trial.run()
    kept = snapshots_of(outcome, RUN) if target is not None else []
    found = scores_of(kept, outcome.order.workload, target or 1.0)
    return row_of(outcome, found, scene=scene, target=target or 1.0)


def environment_of(link: str | None = None) -> dict[str, str]:
    """Of every contender's processes; ``link``: of that rate, between namespaces."""
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if link is not None:
        own |= {"GLOO_SOCKET_IFNAME": WIRE, "TP_SOCKET_IFNAME": WIRE}
        own |= SLOW_LINES if line_rate(link) < _FAST_LINE else {}
    return dict(os.environ) | _ONE_THREAD | _EQUAL | own


def _line(row: Row) -> str:
    shown = ("samples_per_s", "vs_pair", "time_to_target_s", "final_accuracy", "first_step_s")
    words = [f"{key} {row[key]:.4g}" for key in shown if row[key] is not None]
    return " ".join([row["peer"], *words, *([f"({row['reason']})"] if row["reason"] else [])])
