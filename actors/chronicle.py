"""What a run's driver writes down as it goes: numbers and events, on one clock for all sittings."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from actors.evaluator import Evaluation
from actors.words import Note
from ray_easgd.display import Display
from ray_easgd.run_folder import Event, Metric, RunFolder

T = TypeVar("T")


class Chronicle:
    """Into the run's folder and onto the display. ``began_at`` is the wall time of second 0.

    While the folder cannot be written to (a full disk), what is to be written is kept.
    """

    def __init__(self, folder: RunFolder, display: Display, began_at: float) -> None:
        self._folder, self._display, self._began_at = folder, display, began_at
        self._metrics: list[Metric] = []
        self._events: list[Event] = []
        self._is_shut = False

    def tell(self, kind: str, message: str, *, source: str = "driver", **details: Any) -> None:
        """Something the user should know."""
        now = time.time() - self._began_at
        event = Event(time_s=now, kind=kind, source=source, message=message, details=details)
        self._display.event(message)
        self._events = self._written(self._folder.write_events, [*self._events, event])

    def note(self, note: Note, samples: int) -> None:
        """What a worker or a hub reports, when the center had so many samples."""
        if note.value is None:
            self.tell(note.name, note.message, source=note.source, **(note.details or {}))
            return
        self._metrics.append(
            Metric(
                time_s=note.at - self._began_at,
                samples=samples,
                source="user" if note.user else note.source,
                step=note.step,
                name=note.name,
                value=note.value,
            )
        )

    def evaluation(self, evaluation: Evaluation) -> None:
        """A test of the center."""
        now = time.time() - self._began_at
        self._metrics.extend(
            Metric(
                time_s=now,
                samples=evaluation.samples,
                source="evaluator",
                step=evaluation.version.count,
                name=name,
                value=getattr(evaluation, name),
            )
            for name in ("val_loss", "val_accuracy", "test_loss", "test_accuracy")
        )

    def write(self) -> None:
        """Put the numbers gathered so far into the folder."""
        self._events = self._written(self._folder.write_events, self._events)
        self._metrics = self._written(self._folder.write_metrics, self._metrics)

    def _written(self, write: Callable[[list[T]], None], records: list[T]) -> list[T]:
        """What is still to be written afterwards: nothing, or all."""
        if not records:
            return records
        try:
            write(records)
        except OSError as error:
            if not self._is_shut:
                self._display.event(
                    f"{self._folder.path} cannot be written to ({error}). Training goes on; what "
                    "happens meanwhile is written once there is room."
                )
            self._is_shut = True
            return records
        self._is_shut = False
        return []
