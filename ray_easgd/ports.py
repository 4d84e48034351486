"""What a tie speaks to besides its hub: where numbers go, and who keeps the data's book."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ray_easgd.protocol import Interval


class Reporter(Protocol):
    """Where a worker's numbers and events go; never waits."""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None: ...

    def event(self, kind: str, message: str, **details: object) -> None: ...

    def report(self, values: Mapping[str, float], *, step: int) -> None:
        """Numbers of the user's own."""
        ...

    def stepped(self) -> None:
        """A gradient step was taken: called at each."""
        ...


class DataBook(Protocol):
    """Which data the steps since the last push were taken on."""

    def take_progress(self) -> tuple[Interval, ...]:
        """Those intervals, for a push to carry; after that they are forgotten here."""
        ...

    def take_steps(self, clock: int) -> int:
        """The gradient steps since the last push, when the local clock says ``clock`` of them."""
        ...

    def give_back(self, intervals: tuple[Interval, ...]) -> None:
        """Steps on these were dropped: somebody has to take them again."""
        ...


class NoData:
    """The book of a loop that brings data of its own."""

    def take_progress(self) -> tuple[Interval, ...]:
        return ()

    def take_steps(self, clock: int) -> int:
        return clock

    def give_back(self, intervals: tuple[Interval, ...]) -> None:
        """Nothing was taken."""


class Silent:
    """A reporter that nobody reads."""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None: ...

    def event(self, kind: str, message: str, **details: object) -> None: ...

    def report(self, values: Mapping[str, float], *, step: int) -> None: ...

    def stepped(self) -> None: ...
