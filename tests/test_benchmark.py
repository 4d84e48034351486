"""The benchmarks' parts that need no cluster: which rows, and what is made of their moments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from actors.benchmark.cases import Choice, choose_cases, choose_link_cases, line_rate
from actors.benchmark.training import build_mlp
from actors.benchmark.window import Window, pace
from actors.benchmark.yardsticks import allreduce_s, memcpy_s
from ray_easgd.cli import main
from ray_easgd.errors import EasgdError


def window(moments: Sequence[float]) -> Window:
    return Window(moments=moments, bytes_sent=0, bytes_received=0)


def refused(*words: str) -> str:
    """The message of a benchmark that must end with code 2, nothing written to the output."""
    result = CliRunner().invoke(main, ["benchmark", *words], catch_exceptions=False)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def test_both_transports_are_measured_at_three_sizes_and_two_fleets() -> None:
    cases = choose_cases(Choice())
    plain = [c for c in cases if c.format == "float32"]
    coded = [c for c in cases if c.format != "float32"]
    assert len(set(cases)) == len(cases)
    assert {(c.transport, c.n, c.workers) for c in plain} == {
        (transport, n, workers)
        for transport in ("shared_memory", "object_store")
        for n in (100_000, 2_700_000, 25_000_000)
        for workers in (1, 4)
    }
    assert {(c.transport, c.format, c.n, c.workers) for c in coded} == {
        ("object_store", wire_format, 2_700_000, workers)
        for wire_format in ("int8", "bfloat16")
        for workers in (1, 4)
    }


def test_a_link_is_measured_in_each_format_with_one_worker() -> None:
    cases = choose_link_cases(Choice())
    assert [c.format for c in cases] == ["float32", "bfloat16", "int8"]
    assert {(c.transport, c.n, c.workers) for c in cases} == {("object_store", 2_700_000, 1)}


def test_rows_of_one_choice_hold_to_it() -> None:
    cases = choose_cases(Choice(sizes=[5000], workers=[2], formats=["int8"], exchanges=30))
    (case,) = cases
    assert (case.transport, case.format, case.n) == ("object_store", "int8", 5000)
    assert (case.workers, case.exchanges) == (2, 30)


@pytest.mark.parametrize(
    ("rate", "bytes_per_s"),
    [
        ("100mbit", 12.5e6),
        ("1gbit", 125e6),
        ("1.5Mbit", 187_500.0),
        ("8000", 1000.0),
        ("8kibit", 1024.0),
        ("3mbps", 3e6),
        ("64bps", 64.0),
    ],
)
def test_a_rate_means_what_tc_means(rate: str, bytes_per_s: float) -> None:
    assert line_rate(rate) == pytest.approx(bytes_per_s)


@given(
    st.integers(1, 4),
    st.integers(1, 30),
    st.floats(1e-3, 1.0),
    st.lists(st.floats(0.0, 0.4), min_size=4, max_size=4),
)
def test_even_workers_have_an_even_pace(
    workers: int, exchanges: int, wait_s: float, offsets: list[float]
) -> None:
    """Each exchange takes ``wait_s``; workers begin up to 0.4 of one after another."""
    windows = [
        window([(k + offset) * wait_s for k in range(exchanges + 2)])
        for offset in offsets[:workers]
    ]
    found = pace(windows)
    assert found.p50_s == pytest.approx(wait_s)
    assert found.p99_s == pytest.approx(wait_s)
    common_s = (exchanges + 1 - max(offsets[:workers]) + min(offsets[:workers])) * wait_s
    assert found.exchanges_per_s == pytest.approx(workers / wait_s, abs=workers / common_s)


def test_what_a_worker_does_before_and_after_the_others_does_not_count() -> None:
    alone = [0.0, 0.1, 0.2]
    together = [1.0, 3.0, 5.0]
    found = pace([window([*alone, *together, 5.1, 5.2]), window(together)])
    assert found.p50_s == pytest.approx(2.0)
    assert found.exchanges_per_s == pytest.approx(1.0)


def test_workers_that_never_met_have_no_pace() -> None:
    with pytest.raises(EasgdError, match="Give more --exchanges"):
        pace([window([0.0, 1.0]), window([2.0, 3.0])])


@given(st.integers(10_000, 3_000_000))
def test_a_model_has_about_the_parameters_asked_for(n: int) -> None:
    built = sum(p.numel() for p in build_mlp(n).parameters())
    assert built == pytest.approx(n, rel=0.05)


def test_the_yardsticks_measure_each_size() -> None:
    assert memcpy_s(1000) > 0
    times = allreduce_s(2, [10, 1000], repeats=2)
    assert times.keys() == {10, 1000}
    assert min(times.values()) > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exchange", "--n", "many"], "'many' is no whole number above zero"),
        (["exchange", "--n", "0.5"], "no whole number above zero"),
        (["exchange", "--n", "inf"], "no whole number above zero"),
        (["exchange", "--workers", "0"], "--workers"),
        (["exchange", "--transport", "pigeon"], "shared_memory"),
        (["exchange", "--exchanges", "3"], "--exchanges"),
        (["exchange", "--transport", "shared_memory", "--format", "int8"], "Take --transport"),
        (["exchange", "--link", "100 miles"], "no rate that tc reads"),
        (["exchange", "--link", "0mbit"], "no rate that tc reads"),
        (["exchange", "--link", "1mbit", "--workers", "4"], "one worker fills the link"),
        (["exchange", "--link", "1mbit", "--transport", "shared_memory"], "share no memory"),
        (["overhead", "--period", "0"], "--period"),
    ],
)
def test_bad_arguments_are_one_message_with_a_remedy(words: list[str], said: str) -> None:
    assert said in refused(*words)


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    for option in ("--out", "--keep"):
        said = refused("peers", option, str(tmp_path / "file" / "below"))
        assert "cannot be written to" in said
        assert "Name another folder" in said
    said = refused("peers", "--keep", str(tmp_path))
    assert "there is something in it. Name a new folder" in said


def test_a_link_without_its_tools_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda tool: None)
    message = refused("exchange", "--link", "100mbit")
    assert "ip and tc" in message
    assert "iproute2" in message


def test_a_link_without_root_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda tool: f"/usr/sbin/{tool}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "sudo" in refused("exchange", "--link", "100mbit")
