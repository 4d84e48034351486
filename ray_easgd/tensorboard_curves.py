"""TensorBoard's side of a run's folder: one scalar a metric, against samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_easgd.run_folder import Metric


class TensorBoardCurves:
    """Writes event files into a folder, with TensorBoard's own writer.

    The tag is ``source/name``, so that TensorBoard groups by worker; the step is ``samples``, so
    that runs with different fleets can be laid over each other.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.event_file_writer import (  # type: ignore[import-untyped]
            EventFileWriter,
        )

        self.folder = folder
        self._writer = EventFileWriter(str(folder))

    def write(self, metrics: Sequence[Metric], began_at: float) -> None:
        """Write metrics of a run that began at ``began_at`` (seconds since 1970)."""
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

        for m in metrics:
            scalar = Summary.Value(tag=f"{m.source}/{m.name}", simple_value=m.value)
            event = Event(wall_time=began_at + m.time_s, step=m.samples)
            event.summary.value.append(scalar)
            self._writer.add_event(event)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
