"""The displays: a live table that leaves the terminal sane, and lines that are only lines."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ray_easgd.display import (
    Display,
    LineDisplay,
    Progress,
    Silence,
    WorkerProgress,
    make_display,
    one_line,
    progress_line,
)
from ray_easgd.display.live import LiveDisplay, seconds_left, sparkline

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def worker(number: int = 0, state: str = "training", loss: float = 0.4321) -> WorkerProgress:
    return WorkerProgress(
        name=f"worker-{number}",
        state=state,
        step=1_200 + number,
        steps_per_s=41.25,
        exchanges=120,
        late=2,
        staleness=3.0,
        distance=1.618,
        loss=loss,
        device="cpu",
    )


PROGRESS = Progress(
    time_s=12.0,
    samples=32_000,
    target_samples=100_000,
    target_seconds=None,
    version=480,
    val_accuracy=0.9312,
    val_loss=0.241,
    train_loss=0.198,
    samples_per_s=4_021.4,
    workers=(worker(0), worker(1), worker(2, "lost"), worker(3, "starting", math.nan)),
    phase="training",
)

BEGINNING = replace(
    PROGRESS,
    time_s=0.0,
    samples=0,
    version=0,
    val_accuracy=None,
    val_loss=None,
    train_loss=None,
    samples_per_s=0.0,
    workers=(),
    phase="starting Ray",
)


def terminal(height: int = 40) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=110, height=height, record=True)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def screen(progress: Progress, height: int = 40) -> str:
    """What stands on a terminal after one update."""
    console = terminal(height)
    with LiveDisplay(console) as display:
        display.update(progress)
    return console.export_text()


def lines(*updates: Progress) -> list[str]:
    """What a pipe gets for these updates."""
    stream = io.StringIO()
    with LineDisplay(stream) as display:
        for progress in updates:
            display.update(progress)
    return stream.getvalue().splitlines()


def test_a_pipe_gets_lines_and_a_terminal_the_live_display() -> None:
    pipe = Console(file=io.StringIO(), force_terminal=False)
    assert isinstance(make_display(console=pipe), LineDisplay)
    assert isinstance(make_display(console=terminal()), LiveDisplay)
    assert isinstance(make_display(console=terminal(), quiet=True), Silence)


def test_a_progress_line_says_how_far_the_run_is() -> None:
    assert progress_line(PROGRESS) == (
        "[    12.0 s]  training  32,000 of 100,000 samples (32%)  4,021/s  "
        "val_accuracy 0.9312  val_loss 0.2410  train_loss 0.1980  2/4 workers"
    )


def test_a_progress_line_leaves_out_what_nobody_knows() -> None:
    unlimited = replace(BEGINNING, target_samples=None)
    assert progress_line(unlimited) == "[     0.0 s]  starting Ray"


def test_lines_come_every_five_seconds_of_the_runs_clock() -> None:
    updates = [replace(PROGRESS, time_s=float(second)) for second in range(21)]
    assert [line[1:11].strip() for line in lines(*updates)] == [
        "0.0 s", "5.0 s", "10.0 s", "15.0 s", "20.0 s",
    ]  # fmt: skip


def test_a_new_accuracy_or_phase_gets_its_line_at_once() -> None:
    better = replace(PROGRESS, time_s=12.1, val_accuracy=0.94)
    ending = replace(better, time_s=12.2, phase="testing")
    assert len(lines(PROGRESS, better, ending)) == 3


def test_the_last_line_is_where_the_run_ended() -> None:
    end = replace(PROGRESS, time_s=13.0, samples=100_000)
    assert "100,000 of 100,000" in lines(PROGRESS, end)[-1]


def test_an_event_is_one_line_without_control_characters() -> None:
    stream = io.StringIO()
    with LineDisplay(stream) as display:
        display.update(PROGRESS)
        display.event("worker-2 said:\n\x1b[31mTraceback\x07\r\n  boom\u2028")
    assert stream.getvalue().splitlines()[1] == ("[    12.0 s]  worker-2 said: [31mTraceback boom")


def test_silence_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with make_display(quiet=True) as display:
        display.update(PROGRESS)
        display.event("hello")
    assert capfd.readouterr() == ("", "")


def test_lines_go_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with make_display() as display:
        display.update(PROGRESS)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1


def test_the_live_display_shows_the_run_the_center_and_each_worker() -> None:
    shown = screen(PROGRESS)
    for words in ("32,000 of 100,000 samples (32%)", "0:16 left", "val accuracy 0.9312"):
        assert words in shown
    for name in ("worker-0", "worker-1", "worker-2", "worker-3"):
        assert name in shown
    assert "lost" in shown
    assert "nan" not in shown


def test_the_live_display_begins_with_the_phase_alone() -> None:
    shown = screen(replace(BEGINNING, target_samples=None))
    assert "starting Ray" in shown
    assert "center" not in shown
    assert "worker" not in shown


def test_the_live_display_keeps_the_latest_events() -> None:
    console = terminal()
    with LiveDisplay(console) as display:
        display.update(PROGRESS)
        for number in range(8):
            display.event(f"event {number} [bold]\x1b[2J")
    shown = console.export_text()
    assert "event 7 [bold] [2J" in shown
    last_frame = shown[shown.rindex("ray-easgd") :]
    assert "event 2" not in last_frame
    assert "event 3" in last_frame


def test_a_short_terminal_counts_the_workers_it_cannot_show() -> None:
    fleet = tuple(worker(i, "lost" if i == 63 else "training") for i in range(64))
    shown = screen(replace(PROGRESS, workers=fleet), height=24)
    assert "and 53 more: 52 training, 1 lost" in shown
    assert len(shown[shown.rindex("ray-easgd") :].splitlines()) < 24


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_cursor_is_back_after_a_crash(error: type[BaseException]) -> None:
    console = terminal()

    def crash(display: Display) -> None:
        with display:
            display.update(PROGRESS)
            raise error

    with pytest.raises(error):
        crash(LiveDisplay(console))
    assert written(console).rindex(SHOW) > written(console).rindex(HIDE)


def test_a_display_that_nobody_closed_gives_the_cursor_back_at_exit() -> None:
    program = (
        "from rich.console import Console; from tests.test_display import PROGRESS;"
        "from ray_easgd.display import make_display;"
        "make_display(console=Console(stderr=True, force_terminal=True)).update(PROGRESS);"
        "raise SystemExit(3)"
    )
    environment = {**os.environ, "TERM": "xterm"}
    command = [sys.executable, "-c", program]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=root
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.rindex(SHOW) > done.stderr.rindex(HIDE)


def test_closing_twice_is_harmless() -> None:
    display = LiveDisplay(terminal())
    display.close()
    display.update(PROGRESS)
    display.close()
    display.close()


@pytest.mark.parametrize(
    ("samples", "seconds", "fraction", "left_s"),
    [
        (None, None, None, None),
        (64_000, None, 0.5, 8.0),
        (None, 48.0, 0.25, 36.0),
        (64_000, 16.0, 0.75, 4.0),
        (16_000, None, 1.0, 0.0),
    ],
)
def test_the_nearer_limit_counts(
    samples: int | None, seconds: float | None, fraction: float | None, left_s: float | None
) -> None:
    at = replace(PROGRESS, target_samples=samples, target_seconds=seconds, samples_per_s=4_000.0)
    assert at.fraction == fraction
    assert seconds_left(at) == left_s


def test_a_sparkline_fills_its_range() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.3, 0.3]) == "▁▁"


def test_one_line_keeps_letters_of_every_script() -> None:
    assert one_line(" größe\t損失\x9b ") == "größe 損失"
