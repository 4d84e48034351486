"""A hub as one cut, to be written down and gone on with: vector, version, data, what it remembers.

saved = save(hub)
resume(another, saved, layout)      # nobody has joined it yet
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ray_easgd.progress import Progress
from ray_easgd.protocol import Version

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ray_easgd.hub import Hub
    from ray_easgd.parameters import Slot


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedHub:
    """``vector`` of shape (n,), ``version``, ``steps`` and data (``progress``) of one moment.

    ``state`` is what its center step remembers, ``living`` the lives that it remembers for, and
    ``born`` how many there were. ``judged``: the average to be tested, where there is one.
    ``applied``: the last push of each life that the vector contains, for who audits it.
    """

    vector: NDArray[np.float32]
    version: Version
    steps: int
    progress: Progress
    living: tuple[int, ...]
    born: int
    state: Mapping[str, NDArray[Any]]
    judged: NDArray[np.float32] | None = None
    applied: Mapping[int, int] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """All but the arrays, of JSON's types."""
        return {
            "version": [self.version.epoch, self.version.count],
            "steps": self.steps,
            "progress": self.progress.as_record(),
            "living": list(self.living),
            "born": self.born,
            "applied": {str(life): sequence for life, sequence in self.applied.items()},
        }

    @classmethod
    def from_record(
        cls,
        record: Mapping[str, Any],
        vector: NDArray[np.float32],
        state: Mapping[str, NDArray[Any]],
    ) -> SavedHub:
        """What ``as_record`` gave, with the arrays."""
        epoch, count = record["version"]
        return cls(
            vector=vector,
            version=Version(epoch, count),
            steps=record["steps"],
            progress=Progress.from_record(record["progress"]),
            living=tuple(record["living"]),
            born=record["born"],
            state=state,
            applied={int(life): sequence for life, sequence in record["applied"].items()},
        )


def save(hub: Hub) -> SavedHub:
    """Of a hub that has a vector, under its owner's lock. Arrays are copies."""
    snapshot = hub.snapshot()  # first: it takes in what children did in the hub's memory
    judged = hub.judged
    return SavedHub(
        vector=snapshot.vector.numpy(),
        version=snapshot.header.version,
        steps=snapshot.header.steps,
        progress=hub.progress.copy(),
        living=tuple(hub.children),
        born=hub.born,
        state={name: value.detach().cpu().numpy().copy() for name, value in hub.state.items()},
        judged=None if judged is hub.vector or judged is None else judged.numpy().copy(),
        applied=snapshot.header.applied,
    )


def resume(hub: Hub, saved: SavedHub, layout: Sequence[Slot]) -> None:
    """Go on as that hub, in a new epoch. Its children are gone: what was theirs is as lost."""
    state = {name: torch.from_numpy(value.copy()) for name, value in saved.state.items()}
    hub.go_on(
        torch.from_numpy(saved.vector.copy()),
        layout,
        state,
        version=Version(saved.version.epoch + 1, saved.version.count),
        steps=saved.steps,
        born=saved.born,
    )
    hub.progress.learn(saved.progress)
    step, vector = hub.options.center_step, hub.vector
    assert vector is not None
    for life in saved.living:
        step.dismiss_(vector, hub.state, life, lost=True)
