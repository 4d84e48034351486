"""What a run leaves in the caller's hands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray_easgd.errors import EasgdError

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports]  # the caller's own, if installed


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run, in the shape Ray Train's users know.

    ``metrics``: the JSON of ``ray-easgd train --json``, and the latest of what ``session.report``
    was given. ``path``: the run's folder. ``checkpoint``: the path of the last checkpoint, None
    where the run made none. ``error``: what ended it early, None if nothing did.
    """

    metrics: Mapping[str, Any]
    path: str
    checkpoint: str | None
    error: EasgdError | None = None

    @property
    def metrics_dataframe(self) -> pandas.DataFrame:
        """All numbers of the run: time_s, samples, source, step, name, value. Needs pandas."""
        from ray_easgd.run_folder import RunFolder

        return RunFolder.open(self.path).read_metrics().to_pandas()
