"""What a user watches: a live table on a terminal, single lines in a pipe.

Both write to standard error, so that standard output belongs to the command's result.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol, Self

from ray_easgd.display.tree import TreeNode

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerProgress:
    """One worker, as of its latest word. NaN is a number it has not measured yet."""

    name: str
    state: str  # starting, training, lost, done
    step: int  # its gradient steps
    steps_per_s: float
    exchanges: int
    late: int  # exchanges put off because one was still under way
    staleness: float  # center versions, of its latest push
    distance: float  # norm of x - c at its latest exchange
    loss: float
    device: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The whole run at one moment. None is what nobody asked for or measured yet."""

    time_s: float  # since the run began
    samples: int  # that the center has absorbed
    target_samples: int | None
    target_seconds: float | None
    version: int  # of the center: pushes applied
    val_accuracy: float | None  # fraction
    val_loss: float | None
    train_loss: float | None
    samples_per_s: float
    workers: tuple[WorkerProgress, ...]
    phase: str  # starting Ray, training, ...
    hubs: tuple[TreeNode, ...] = ()  # of a tree, center first

    @property
    def fraction(self) -> float | None:
        """How much of the run is over, by whichever limit is nearer; None without a limit."""
        shares = []
        if self.target_samples:
            shares.append(self.samples / self.target_samples)
        if self.target_seconds:
            shares.append(self.time_s / self.target_seconds)
        return min(1.0, max(shares)) if shares else None


class Display(Protocol):
    """Shows a run while it runs."""

    def update(self, progress: Progress) -> None:
        """Show how far the run is. Call it as often as there is news."""
        ...

    def event(self, text: str) -> None:
        """Tell what happened, now."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was; harmless when repeated."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def make_display(*, console: Console | None = None, quiet: bool = False) -> Display:
    """The display that suits where standard error goes (or ``console``, if given)."""
    if quiet:
        return Silence()
    if console is None:
        from rich.console import Console

        console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        from ray_easgd.display.live import LiveDisplay

        return LiveDisplay(console)
    return LineDisplay(console.file)


class Silence:
    """Shows nothing. The base of the displays, for what they share."""

    def update(self, progress: Progress) -> None:
        pass

    def event(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class LineDisplay(Silence):
    """Plain lines for a log: every event, and progress now and then."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._seen: Progress | None = None
        self._shown: Progress | None = None

    def update(self, progress: Progress) -> None:
        self._seen = progress
        if self._shown is None or _is_news(self._shown, progress):
            self._show(progress)

    def event(self, text: str) -> None:
        time_s = self._seen.time_s if self._seen else 0.0
        self._write(f"{_clock(time_s)}  {one_line(text)}")

    def close(self) -> None:
        """Show where the run ended, if the last line did not."""
        if self._seen is not None and self._seen is not self._shown:
            self._show(self._seen)

    def _show(self, progress: Progress) -> None:
        self._shown = progress
        self._write(progress_line(progress))

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def progress_line(progress: Progress) -> str:
    """A run's progress as one line, what is not known yet left out."""
    words = [progress.phase]
    if progress.samples or progress.target_samples:
        words.append(amount(progress))
    if progress.samples_per_s > 0:
        words.append(f"{progress.samples_per_s:,.0f}/s")
    for name in ("val_accuracy", "val_loss", "train_loss"):
        value = getattr(progress, name)
        if value is not None:
            words.append(f"{name} {value:.4f}")
    if progress.workers:
        training = sum(worker.state == "training" for worker in progress.workers)
        words.append(f"{training}/{len(progress.workers)} workers")
    return f"{_clock(progress.time_s)}  {'  '.join(one_line(word) for word in words)}"


def amount(progress: Progress) -> str:
    """``3,200 of 10,000 samples (32%)``."""
    target = f" of {progress.target_samples:,}" if progress.target_samples else ""
    share = "" if progress.fraction is None else f" ({progress.fraction:.0%})"
    return f"{progress.samples:,}{target} samples{share}"


def one_line(text: str) -> str:
    """Text without line ends and control characters, which could garble a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _is_news(shown: Progress, now: Progress) -> bool:
    return (
        now.time_s - shown.time_s >= SECONDS_BETWEEN_LINES
        or now.val_accuracy != shown.val_accuracy
        or now.phase != shown.phase
    )


def _clock(time_s: float) -> str:
    return f"[{time_s:8.1f} s]"
