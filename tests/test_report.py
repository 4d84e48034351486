"""The report: a page that shows what was measured, whatever is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ray_easgd.report import summary, write_report
from ray_easgd.report.numbers import Curve, Numbers, binned, natural, pooled
from ray_easgd.report.plots import all_plots, time_axis
from ray_easgd.report.tiles import duration, short, tiles
from ray_easgd.run_folder import Event, Metric, RunFolder

CONFIG = """\
algorithm:
  name: eamsgd
  period: 10
  beta: 0.9
  momentum: 0.99
batch_size: 128
data: cifar10
fleet:
  workers: 4
  gpus_per_worker: 0.25
model: cifar_cnn
optimizer:
  lr: 0.05
  name: nesterov
run:
  name: quiet-otter
seed: 1
stop:
  samples: 2000000
"""

RESULT = {
    "name": "quiet-otter",
    "algorithm": "eamsgd",
    "num_workers": 4,
    "val_accuracy": 0.8342,
    "test_accuracy": 0.8291,
    "best_test_accuracy": 0.8307,
    "train_loss": 0.4127,
    "samples": 2_000_128,
    "samples_repeated": 1_280,
    "samples_missed": 0,
    "steps": 15_626,
    "exchanges": 1_562,
    "exchanges_late": 41,
    "bytes_sent": 16_900_000_000,
    "bytes_received": 17_100_000_000,
    "wall_s": 912.4,
    "first_step_s": 6.8,
    "samples_per_s": 2_208.0,
    "resumed_from": None,
}

EVENTS = [
    Event(time_s=0.4, kind="started", source="driver", message="training began", details={}),
    Event(
        time_s=402.1,
        kind="worker_lost",
        source="worker-2",
        message="its process died; a spare takes its place <SIGKILL & co>",
        details={"incarnation": 3, "displacement": 1.27},
    ),
    Event(time_s=404.0, kind="joined", source="worker-2", message="incarnation 7", details={}),
    Event(time_s=911.0, kind="finished", source="driver", message="2,000,128 samples", details={}),
]


def at(time_s: float, samples: int, source: str, values: Mapping[str, float]) -> list[Metric]:
    """Several numbers that one source measured at one moment."""
    return [
        Metric(time_s=time_s, samples=samples, source=source, step=samples // 512, name=n, value=v)
        for n, v in values.items()
    ]


def measured(num_workers: int = 4, moments: int = 100, duration_s: float = 910.0) -> list[Metric]:
    """Numbers as a real run has them: falling loss, spread between workers, one of them slow."""
    rng = np.random.default_rng(0)
    found = []
    for moment in np.linspace(2.0, duration_s, moments).tolist():
        share = moment / duration_s
        samples = int(2e6 * share)
        for i in range(num_workers):
            of_worker = {
                "loss": 0.4 + 1.9 * math.exp(-5 * share) + 0.12 * rng.normal(),
                "distance": (1 + 0.1 * i) * (3 + 6 * math.sqrt(share)) + 0.2 * rng.normal(),
                "staleness": float(rng.poisson(3 + 2 * (i == 1))),
                "step_rate": (4.6 - 1.4 * (i == 1)) * (1 + 0.04 * rng.normal()),
            }
            found += at(moment, samples, f"worker-{i}", of_worker)
        of_center = {
            "val_accuracy": 0.84 - 0.7 * math.exp(-6 * share) + 0.004 * rng.normal(),
            "test_accuracy": 0.83 - 0.7 * math.exp(-6 * share) + 0.004 * rng.normal(),
            "val_loss": 0.5 + 1.8 * math.exp(-6 * share) + 0.01 * rng.normal(),
        }
        found += at(moment, samples, "evaluator", of_center)
    return found


def full_run(storage: Path) -> RunFolder:
    folder = RunFolder.create(str(storage), "quiet-otter")
    folder.write_config(CONFIG)
    folder.write_metrics(measured())
    folder.write_events(EVENTS)
    folder.write_result(RESULT)
    folder.close()
    return folder


class Page(HTMLParser):
    """What a browser would show and fetch."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.titles, self.fetched, self.open_tags = "", [""], list[str](), list[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fetching = {"src", "srcset", "data", "action"} | ({"href"} if tag != "use" else set())
        self.fetched += [value or "" for name, value in attrs if name in fetching]
        if tag in {"script", "link", "iframe", "img"}:
            self.fetched.append(tag)
        if tag != "meta":
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open_tags.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open_tags[-1:] == ["h3"]:
            self.titles.append(data)


def page_of(folder: RunFolder) -> Page:
    return Page(Path(write_report(folder)).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(full_run(tmp_path_factory.mktemp("runs")))


def test_the_page_shows_every_plot(page: Page) -> None:
    assert page.titles[1:] == [
        "Accuracy of the center against time",
        "Accuracy of the center against samples",
        "Loss against time",
        "Loss against samples",
        "Distance from the center",
        "Staleness of pushes",
        "Step rate",
    ]


def test_the_page_shows_key_numbers_events_and_configuration(page: Page) -> None:
    assert "82.91 %" in page.text
    assert "best 83.07 %" in page.text
    assert "15 min 12 s" in page.text
    assert "41 late (2.6%)" in page.text
    assert "16.9 GB" in page.text
    assert "<SIGKILL & co>" in page.text
    assert '"displacement": 1.27' in page.text
    assert "momentum: 0.99" in page.text


def test_the_page_is_well_formed_and_fetches_nothing(page: Page) -> None:
    assert page.open_tags == []
    assert page.fetched == []


def test_a_page_written_twice_is_the_same(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "run")
    folder.write_metrics(at(1.0, 64, "worker-0", {"staleness": 1.0}))
    first = Path(write_report(folder)).read_text()
    assert Path(write_report(folder)).read_text() == first


def test_a_failed_run_says_so_first(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "run")
    folder.write_metrics(at(1.0, 64, "evaluator", {"val_accuracy": 0.5}))
    message = "worker-1 failed\nTraceback: <module> ValueError"
    failure = Event(time_s=9.0, kind="failed", source="worker-1", message=message, details={})
    folder.write_events([failure])
    page = page_of(folder)
    assert page.text.index("The run failed") < page.text.index("Validation accuracy")
    assert message in page.text
    assert summary(folder)["status"] == "failed"
    assert summary(folder)["error"] == message


def test_a_run_without_any_measurement_gets_a_page(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "run")
    page = page_of(folder)
    assert "Nothing has been measured" in page.text
    assert page.open_tags == []
    assert summary(folder)["status"] == "unfinished"


def test_a_loop_of_ones_own_shows_what_it_reported(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "run")
    names = ["perplexity", "$cost_per_token$", "Verlust für <größe>", "損失"]
    for time_s in (1.0, 2.0, 3.0):
        folder.write_metrics(at(time_s, 0, "user", dict.fromkeys(names, time_s)))
    page = page_of(folder)
    assert page.titles[1:] == [f"Reported by your code: {name}" for name in sorted(names)]


def test_numbers_that_are_not_finite_leave_gaps(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "run")
    for time_s, value in enumerate([1.0, math.nan, math.inf, 2.0]):
        folder.write_metrics(at(float(time_s), 0, "worker-0", {"loss": value}))
    (curve,) = Numbers(folder.read_metrics()).curves("loss")
    assert curve.value.tolist() == [1.0, 2.0]
    assert page_of(folder).titles[1:] == ["Loss against time", "Loss against samples"]


def test_a_single_measurement_can_be_plotted(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "run")
    folder.write_metrics(measured(num_workers=1, moments=1))
    assert len(all_plots(Numbers(folder.read_metrics()))) == 7


def test_a_large_fleet_is_shown_as_a_median_and_its_range(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "run")
    folder.write_metrics(measured(num_workers=12, moments=5))
    svg = {plot.title: plot.svg for plot in all_plots(Numbers(folder.read_metrics()))}
    assert "median of 12" in svg["Step rate"]
    assert "worker-3" not in svg["Step rate"]


def test_a_loss_that_falls_far_is_shown_by_powers_of_ten(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "run")
    for step in range(20):
        folder.write_metrics(at(float(step), step, "evaluator", {"val_loss": 2.0**-step}))
    svg = all_plots(Numbers(folder.read_metrics()))[0].svg
    assert "0.001" in svg


def test_the_summary_is_the_result_with_what_the_folder_knows(tmp_path: Path) -> None:
    facts = summary(full_run(tmp_path))
    assert facts["status"] == "finished"
    assert facts["error"] is None
    assert facts["test_accuracy"] == 0.8291
    assert facts["events"] == {"finished": 1, "joined": 1, "started": 1, "worker_lost": 1}


def test_a_result_that_names_its_status_and_error_is_believed(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "run")
    folder.write_result({"status": "interrupted", "error": None})
    assert summary(folder)["status"] == "interrupted"
    folder.write_result({"error": "the fleet is gone"})
    assert summary(folder)["status"] == "failed"
    assert "the fleet is gone" in page_of(folder).text


def test_the_summary_of_an_unfinished_run_comes_from_its_metrics(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "run")
    folder.write_config(CONFIG)
    folder.write_metrics(measured(num_workers=3, moments=5, duration_s=100.0))
    facts = summary(folder)
    assert (facts["algorithm"], facts["num_workers"]) == ("eamsgd", 3)
    assert facts["samples_per_s"] == pytest.approx(20_000.0)
    assert facts["best_test_accuracy"] >= facts["test_accuracy"] > 0.7


def test_tiles_of_an_empty_run_are_left_out() -> None:
    assert tiles({"test_accuracy": None}) == []


def test_bins_keep_the_middle_and_the_spread() -> None:
    x = np.arange(1000.0)
    y = np.tile(np.arange(100.0), 10)
    middle_x, low, middle, high = binned(x, y, 10)
    np.testing.assert_allclose(middle_x, 49.5 + 100 * np.arange(10))
    assert low.tolist() == pytest.approx([9.9] * 10)
    assert middle.tolist() == pytest.approx([49.5] * 10)
    assert high.tolist() == pytest.approx([89.1] * 10)


def test_pooled_curves_are_in_order_of_time() -> None:
    one, two = (Curve("w", t, t, t) for t in (np.array([1.0, 4.0]), np.array([2.0, 3.0])))
    assert pooled([one, two]).value.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert pooled([]).value.tolist() == []


def test_workers_are_sorted_as_a_person_would() -> None:
    assert natural({"worker-10", "worker-2"}) == ["worker-2", "worker-10"]


@pytest.mark.parametrize(
    ("seconds", "said"), [(8.25, "8.2 s"), (245, "4 min 05 s"), (11_520, "3 h 12 min")]
)
def test_durations_read_well(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [(9984, "9,984"), (12_345, "12.3 k"), (1_270_000, "1.27 M"), (64e9, "64.0 G"), (0, "0")],
)
def test_large_numbers_are_shortened(number: float, said: str) -> None:
    assert short(number) == said


@pytest.mark.parametrize(
    ("longest_s", "label"), [(90, "time (s)"), (910, "time (min)"), (90_000, "time (h)")]
)
def test_time_is_in_the_unit_that_reads_best(longest_s: float, label: str) -> None:
    assert time_axis(longest_s).label == label
