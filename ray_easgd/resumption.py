"""What a run of the same name and storage path left, for the one that goes on with it.

What a driver writes: ``described(hubs, ...)`` into a checkpoint's manifest, ``state_of(hubs)``
beside it. What the next one reads: ``found(folder, config)``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray_easgd import strict_json
from ray_easgd.checkpoint import Checkpoint, newest_whole
from ray_easgd.errors import BadConfig, Superseded
from ray_easgd.parameters import Slot
from ray_easgd.progress import Progress
from ray_easgd.saved_hub import SavedHub

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ray_easgd.config import Config
    from ray_easgd.run_folder import RunFolder

SITTING = "sitting.json"


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """Where to go on: the checkpoint at ``path``; ``hubs`` are the center's slices.

    ``trained_s`` is how long workers had trained by then, ``schedule_clock`` how many steps of
    their learning rate's schedule lay behind them.
    """

    path: str
    hubs: tuple[SavedHub, ...]
    layout: tuple[Slot, ...]
    trained_s: float
    schedule_clock: int = 0

    @property
    def progress(self) -> Progress:
        """The data that the center has seen."""
        return Progress.union(hub.progress for hub in self.hubs)

    @property
    def born(self) -> int:
        """Lives of workers there were: none is given again."""
        return max(hub.born for hub in self.hubs)

    @property
    def summary(self) -> str:
        """For a person."""
        return f"version {self.hubs[0].version.count}, {self.progress.num_distinct:,} samples"


def described(
    hubs: Sequence[SavedHub],
    config: Config,
    algorithm: str,
    *,
    trained_s: float,
    schedule_clock: int = 0,
) -> dict[str, Any]:
    """What a manifest says besides its layout and files."""
    first = hubs[0]
    progress = Progress.union(hub.progress for hub in hubs)
    return {
        "version": [first.version.epoch, first.version.count],
        "algorithm": algorithm,
        "model": config.model,
        "data": config.data,
        "samples": progress.num_distinct + progress.num_repeated,
        "steps": first.steps,
        "trained_s": trained_s,
        "schedule_clock": schedule_clock,
        "hubs": [{**hub.as_record(), "size": len(hub.vector)} for hub in hubs],
    }


def state_of(hubs: Sequence[SavedHub]) -> dict[str, NDArray[Any]]:
    """The arrays that a model has no use for: what center steps remember, and under an average
    the center itself."""
    arrays: dict[str, NDArray[Any]] = {}
    for k, hub in enumerate(hubs):
        arrays |= {f"{k}/state/{name}": array for name, array in hub.state.items()}
        if hub.judged is not None:
            arrays[f"{k}/vector"] = hub.vector
    return arrays


def found(
    folder: RunFolder, config: Config, algorithm: str, tell: Callable[[str], None]
) -> Resumption | None:
    """The newest checkpoint that is whole; None where there is none to go on from.

    Raises BadConfig where it is of another model, data set or method, or cut another way.
    """
    newest = newest_whole(folder, tell)
    if newest is None or "hubs" not in newest[1].manifest:
        return None
    path, checkpoint = newest
    _refuse_another(checkpoint.manifest, config, algorithm)
    return Resumption(
        path=path,
        hubs=tuple(_hubs(checkpoint)),
        layout=tuple(_slot(entry) for entry in checkpoint.manifest["layout"]),
        trained_s=float(checkpoint.manifest["trained_s"]),
        schedule_clock=int(checkpoint.manifest.get("schedule_clock", 0)),  # older ones have none
    )


def _hubs(checkpoint: Checkpoint) -> list[SavedHub]:
    hubs, start = [], 0
    for k, record in enumerate(checkpoint.manifest["hubs"]):
        stop, prefix = start + record["size"], f"{k}/state/"
        vector = checkpoint.state.get(f"{k}/vector", checkpoint.vector[start:stop])
        state = {
            name.removeprefix(prefix): array
            for name, array in checkpoint.state.items()
            if name.startswith(prefix)
        }
        hubs.append(SavedHub.from_record(record, vector, state))
        start = stop
    return hubs


def _slot(entry: Mapping[str, Any]) -> Slot:
    return Slot(entry["name"], tuple(entry["shape"]), entry["offset"], entry["size"])


def _refuse_another(manifest: Mapping[str, Any], config: Config, algorithm: str) -> None:
    slices = config.exchange.fragments * config.center.shards
    now = {
        "model": (manifest["model"], config.model),
        "data": (manifest["data"], config.data),
        "algorithm.name": (manifest["algorithm"], algorithm),
        "exchange.fragments": (len(manifest["hubs"]), slices),
    }
    for field, (before, asked) in now.items():
        if before != asked:
            raise BadConfig(
                field,
                asked,
                f"the run of this name, which would be resumed, has {before!r}",
                "Set it back, or choose another run.name to train anew.",
            )


class Sitting:
    """One driver at a run's folder. A later one takes the seat, and the earlier one has to go."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._token = folder, secrets.token_hex(8)
        folder.place.write(SITTING, strict_json.dumps({"token": self._token}).encode())

    def check(self) -> None:
        """Raises Superseded where another driver has taken the seat."""
        if strict_json.loads(self._folder.place.read(SITTING).decode())["token"] != self._token:
            raise Superseded(self._folder.path)
