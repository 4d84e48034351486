"""What a run's driver writes down as it goes: numbers and events, on one clock for all sittings."""

from __future__ import annotations

import time
from typing import Any

from actors.evaluator import Evaluation
from actors.words import Note
from ray_easgd.display import Display
from ray_easgd.run_folder import Event, Metric, RunFolder


class Chronicle:
    """Into the run's folder and onto the display. ``began_at`` is the wall time of second 0."""

    def __init__(self, folder: RunFolder, display: Display, began_at: float) -> None:
        self._folder, self._display, self._began_at = folder, display, began_at
        self._metrics: list[Metric] = []

    def tell(self, kind: str, message: str, *, source: str = "driver", **details: Any) -> None:
        """Something the user should know."""
        now = time.time() - self._began_at
        event = Event(time_s=now, kind=kind, source=source, message=message, details=details)
        self._folder.write_events([event])
        self._display.event(message)

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
        metrics, self._metrics = self._metrics, []
        if metrics:
            self._folder.write_metrics(metrics)
