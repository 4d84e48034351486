"""The driver's side of checkpoints: when to write one, in the background, and the last one.

A checkpoint that cannot be written is reported; training goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from actors.asking import answer_of, in_short
from ray_easgd.checkpoint import keep_newest, newest_number, write_checkpoint
from ray_easgd.config import Config
from ray_easgd.errors import EasgdError, HubLost, Superseded
from ray_easgd.protocol import SnapshotHeader, Version
from ray_easgd.resumption import Resumption, Sitting, described, found, state_of
from ray_easgd.run_folder import RunFolder
from ray_easgd.saved_hub import SavedHub

if TYPE_CHECKING:
    from ray import ObjectRef

    from actors.evaluator import Evaluation
    from actors.hub_slice import Published
    from ray_easgd.parameters import Slot

Tell = Callable[[str, str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """The center at one moment: each slice's vector, its data and what its center step remembers,
    taken under the slice's lock."""

    layout: tuple[Slot, ...]
    hubs: tuple[SavedHub, ...]

    @classmethod
    def of(cls, asked: Sequence[ObjectRef[Any]]) -> Cut:
        """What ``_ask`` asked for. Raises HubLost where the center is gone."""
        layout, *parts = map(answer_of, asked)
        return cls(layout=layout, hubs=tuple(hub for part in parts for hub in part))

    @property
    def vector(self) -> np.ndarray:
        """The one to test and to keep, of shape (n,)."""
        slices = [hub.vector if hub.judged is None else hub.judged for hub in self.hubs]
        return slices[0] if len(slices) == 1 else np.concatenate(slices)

    @property
    def published(self) -> Published:
        """For the evaluator; this process's own, so that no hub's end can take it away."""
        books = [hub.progress for hub in self.hubs]
        header = SnapshotHeader(
            version=self.hubs[0].version,
            moving_rate=0.0,
            samples=sum(book.num_distinct + book.num_repeated for book in books),
        )
        return header, [ray.put(self.vector)]


def cut(centers: Sequence[Any]) -> Cut:
    """The center as it is now. Raises HubLost where it is gone."""
    return Cut.of(_ask(centers))


def cut_in_haste(
    hear: Callable[[], bool], centers: Callable[[], Sequence[Any]], tell: Tell
) -> Cut | None:
    """Of a run that was interrupted, or failed: the center may be what failed.

    ``hear``: whether it has answered once more; ``centers``: none before anybody has joined.
    Raises Superseded.
    """
    try:
        was_there = bool(centers())
        if not hear():
            raise HubLost("the center", "it does not answer")
        if was_there and not centers():
            raise HubLost("the center", "nobody had anything of it any more")
        return cut(centers()) if centers() else None
    except Superseded:
        raise
    except EasgdError as error:
        tell(
            "checkpoint_failed",
            f"there is no last checkpoint ({in_short(error)}); the same command goes on from "
            "the newest that was written",
        )
        return None


class Keeper:
    """Writes checkpoints of the center into a run's folder. ``tell`` takes kind and message."""

    def __init__(
        self,
        folder: RunFolder,
        config: Config,
        algorithm: str,
        *,
        tell: Tell,
        trained_s: Callable[[], float],
        tested: Callable[[], Evaluation | None],
        schedule_clock: Callable[[], int],
    ) -> None:
        self._folder, self._config, self._algorithm = folder, config, algorithm
        self._tell, self._trained_s, self._tested = tell, trained_s, tested
        self._schedule_clock = schedule_clock
        self._said: tuple[int, Evaluation | None] = (-1, None)  # by which checkpoint, of which test
        self._last = Version(0, 0), -1
        self._sitting: Sitting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._asked: list[ObjectRef[Any]] = []
        self._writing: Future[str] | None = None
        self._due = time.monotonic() + config.run.checkpoint_s

    def begin(self) -> None:
        """Take the seat at the folder; how the run ended before is forgotten."""
        self._sitting = Sitting(self._folder)
        self._folder.forget_result()
        self._last = Version(0, 0), newest_number(self._folder)

    def check(self) -> None:
        """Raises Superseded where another driver has taken the seat at the folder.

        A folder that does not answer has not said so.
        """
        with suppress(OSError):
            self._sitting.check()

    def look(self, centers: Sequence[Any]) -> None:
        """Begin what is due, and take in what is done. Never waits. Raises Superseded."""
        if self._writing is not None:
            if self._writing.done():
                self._take()
            return
        if not self._asked:
            if self._config.run.checkpoint_s and time.monotonic() >= self._due:
                self._asked = _ask(centers)
            return
        if not ray.wait(self._asked, num_returns=len(self._asked), timeout=0)[1]:
            asked, self._asked = self._asked, []
            self._writing = self._thread.submit(lambda: self._write(Cut.of(asked), {}))

    def newest(self) -> Resumption | None:
        """What a center of which nobody has anything goes on from."""
        if self._writing is not None:
            self._writing.exception()
        return found(
            self._folder, self._config, self._algorithm, partial(self._tell, "torn_checkpoint")
        )

    def last(self, cut: Cut, beside: Mapping[str, Any], *, is_sound: bool = True) -> str:
        """Write it, with what a model needs ``beside`` it; the path. ``is_sound``: a test that was
        made before says something of it.

        Raises OSError where it cannot be written, Superseded.
        """
        if self._writing is not None:
            self._writing.exception()  # one after the other
            self._writing = None
        self._thread.shutdown(wait=False)
        return self._write(cut, beside, is_sound=is_sound)

    def _take(self) -> None:
        assert self._writing is not None
        writing, self._writing = self._writing, None
        self._due = time.monotonic() + self._config.run.checkpoint_s
        try:
            writing.result()
        except Superseded:
            raise
        except (OSError, EasgdError, MemoryError) as error:
            self._tell(
                "checkpoint_failed",
                f"no checkpoint could be written ({in_short(error)}); training goes on, and the "
                f"next one is due in {self._config.run.checkpoint_s:g} s",
            )

    def _write(self, cut: Cut, beside: Mapping[str, Any], *, is_sound: bool = True) -> str:
        """The seat at the folder is looked at before each word that counts: an upload takes long,
        and who took the seat meanwhile may be writing what we would write over or delete."""
        self._sitting.check()
        manifest = described(
            cut.hubs,
            self._config,
            self._algorithm,
            trained_s=self._trained_s(),
            schedule_clock=self._schedule_clock(),
        )
        number, tested = self._number(cut.hubs[0].version), self._tested() if is_sound else None
        path = write_checkpoint(
            self._folder,
            number,
            vector=cut.vector,
            layout=cut.layout,
            manifest=manifest | {"val_accuracy": self._accuracy_of(number, tested)},
            extra=beside,
            state=state_of(cut.hubs),
            before_manifest=self._sitting.check,
        )
        self._said = number, tested
        with suppress(OSError):  # it is written: what is too many goes another time
            self._sitting.check()
            keep_newest(self._folder, self._config.run.keep, best=True)
        return path

    def _accuracy_of(self, number: int, tested: Evaluation | None) -> float | None:
        """A test counts for the first checkpoint after it, and for that written once more: what it
        says of later ones nobody knows."""
        last, said = self._said
        return None if tested is None or (tested is said and number > last) else tested.val_accuracy

    def _number(self, version: Version) -> int:
        """That of its version, but rising: a center that was recovered has fewer pushes again."""
        known, number = self._last
        if version.count > number:
            self._last = version, version.count
        elif version != known:
            self._last = version, number + 1
        return self._last[1]


def _ask(centers: Sequence[Any]) -> list[ObjectRef[Any]]:
    return [centers[0].layout.remote(), *(center.save.remote() for center in centers)]
