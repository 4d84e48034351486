"""The live display on a terminal: how far the run is, the center, every worker, the latest events.

Reached through ``ray_easgd.display.make_display``.
"""

from __future__ import annotations

import atexit
import math
import sys
from collections import deque
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ray_easgd.display import Progress, Silence, WorkerProgress, amount, one_line
from ray_easgd.display.tree import as_table

NUM_EVENTS = 5
LINES_BESIDE_WORKERS = 7 + NUM_EVENTS  # header, bar, center, table head, rules, summary
WIDE = 100  # columns; a narrower terminal gets a tighter table
STATE_STYLES = {"training": "green", "starting": "yellow", "lost": "bold red", "done": "dim"}


class LiveDisplay(Silence):
    """Redraws a few lines at the foot of the terminal; what others print scrolls by above."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._events: deque[Text] = deque(maxlen=NUM_EVENTS)
        self._progress: Progress | None = None
        self._accuracies: list[float] = []
        self._mark: RenderableType = Spinner("dots", style="cyan")
        self._live: Live | None = None

    def update(self, progress: Progress) -> None:
        self._progress = progress
        accuracy = progress.val_accuracy
        if accuracy is not None and self._accuracies[-1:] != [accuracy]:
            self._accuracies.append(accuracy)
        self._draw()

    def event(self, text: str) -> None:
        time_s = self._progress.time_s if self._progress else 0.0
        self._events.append(Text.assemble((f"{time_s:9.1f} s  ", "dim"), one_line(text)))
        self._draw()

    def close(self) -> None:
        if self._live is not None:
            self._mark = Text("■", "dim")  # what stays on the screen does not pretend to move
            self._live.update(self._render(), refresh=False)
            self._live.stop()
            self._live = None
            atexit.unregister(self.close)

    def _draw(self) -> None:
        if self._live is None:
            self._live = self._start()
        self._live.update(self._render(), refresh=True)

    def _start(self) -> Live:
        live = Live(
            console=self._console,
            refresh_per_second=8,  # of the spinner, while nothing else moves
            # Lines for a terminal may be drawn above; lines for a pipe must go into the pipe.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        atexit.register(self.close)  # shows the cursor again if nobody closes us
        live.start()
        return live

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._progress is not None:
            parts += [self._head(self._progress), _bar(self._progress, self._console.width)]
            parts += self._center(self._progress)
            room = max(4, self._console.height - LINES_BESIDE_WORKERS)
            if self._progress.hubs:
                parts.append(as_table(self._progress.hubs))
                room = max(4, room - len(self._progress.hubs) - 3)
            parts += _workers(self._progress.workers, room, self._console.width)
        return Group(*parts, *self._events)

    def _head(self, progress: Progress) -> RenderableType:
        row = Table.grid(padding=(0, 1))
        phase = Text(one_line(progress.phase), "bold cyan")
        clock = Text(_clock(progress.time_s), "dim")
        row.add_row(self._mark, Text("ray-easgd", "bold"), phase, clock)
        return row

    def _center(self, progress: Progress) -> list[RenderableType]:
        """The center's measurements, once there is one."""
        known = {
            "val accuracy": progress.val_accuracy,
            "val loss": progress.val_loss,
            "train loss": progress.train_loss,
        }
        line = Text("center  ", "bold", no_wrap=True, overflow="ellipsis")
        for name, value in known.items():
            if value is not None:
                line.append(f"{name} ", "dim").append(f"{value:.4f}  ", "bold")
        if len(self._accuracies) > 1:
            line.append(f"best {max(self._accuracies):.4f}  ", "dim")
        line.append(f"version {progress.version:,}  ", "dim")
        if len(self._accuracies) > 1:
            line.append(sparkline(self._accuracies[-16:]), "cyan")
        return [line] if progress.version else []


def _bar(progress: Progress, width: int) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    words = [amount(progress)] if progress.samples or progress.target_samples else []
    if progress.samples_per_s > 0:
        words.append(f"{progress.samples_per_s:,.0f}/s")
    left_s = seconds_left(progress)
    if left_s is not None:
        words.append(f"{_clock(left_s)} left")
    text = Text("  ".join(words))
    if progress.fraction is None:
        return text
    row.add_row(ProgressBar(total=1.0, completed=progress.fraction, width=width // 4), text)
    return row


def _workers(workers: Sequence[WorkerProgress], room: int, width: int) -> list[RenderableType]:
    """The table of workers; where the terminal is too short for all, a line counts the others."""
    if not workers:
        return []
    shown = workers if len(workers) <= room else workers[: room - 1]
    gap = 1 if width >= WIDE else 0
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap), header_style="dim")
    for heading in ("worker", "state", "device"):
        table.add_column(heading, no_wrap=True)
    for heading in ("steps", "steps/s", "loss", "stale", "distance", "exchanges", "late"):
        table.add_column(heading, justify="right", no_wrap=True)
    for worker in shown:
        table.add_row(*_cells(worker), style="dim" if worker.state == "lost" else "")
    rest = workers[len(shown) :]
    return [table, Text(_counted(rest), "dim")] if rest else [table]


def _cells(worker: WorkerProgress) -> list[Text]:
    return [
        Text(one_line(worker.name)),
        Text(worker.state, STATE_STYLES.get(worker.state, "")),
        Text(one_line(worker.device)),
        Text(f"{worker.step:,}"),
        Text(_number(worker.steps_per_s, ",.1f")),
        Text(_number(worker.loss, ".4f")),
        Text(_number(worker.staleness, ".1f")),
        Text(_number(worker.distance, ".3g")),
        Text(f"{worker.exchanges:,}"),
        Text(f"{worker.late:,}", "yellow" if worker.late else "dim"),
    ]


def _counted(workers: Sequence[WorkerProgress]) -> str:
    states = [worker.state for worker in workers]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"and {len(workers)} more: {counts}"


def seconds_left(progress: Progress) -> float | None:
    """Until the nearer limit, at the present pace; None without a limit or before any pace."""
    lefts = []
    if progress.target_samples and progress.samples_per_s > 0:
        lefts.append((progress.target_samples - progress.samples) / progress.samples_per_s)
    if progress.target_seconds:
        lefts.append(progress.target_seconds - progress.time_s)
    return max(0.0, min(lefts)) if lefts else None


def sparkline(values: Sequence[float]) -> str:
    """Values as a row of small bars, the lowest and the highest filling the range."""
    low, high = min(values), max(values)
    scale = 7 / (high - low) if high > low else 0.0
    return "".join("▁▂▃▄▅▆▇█"[round((value - low) * scale)] for value in values)


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _clock(seconds: float) -> str:
    """``0:41``, ``12:05``, ``3:12:05``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
