"""Traces: what is written is what is read, and what was simulated is simulated again to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from ray_easgd.cli import main
from ray_easgd.errors import BadStorage
from ray_easgd.protocol import Interval, PushHeader, Version
from ray_easgd.simulator.replay import replay
from ray_easgd.simulator.virtual_run import simulate
from ray_easgd.trace import (
    Joined,
    Left,
    Pushed,
    Record,
    TraceFile,
    as_json,
    children_of,
    fingerprint,
    from_json,
    read_trace,
)

TREE = [{"fan_out": 2, "period": 8}, {"fan_out": 2, "period": 4}]

numbers = st.integers(0, 2**40)
finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
versions = st.builds(Version, numbers, numbers)
intervals = st.builds(Interval, numbers, numbers, numbers)
headers = st.builds(
    PushHeader,
    incarnation=numbers,
    sequence=numbers,
    computed_from=versions,
    steps=numbers,
    clock=numbers,
    taken_at=numbers,
    moving_rate=finite,
    progress=st.lists(intervals, max_size=3).map(tuple),
    checksum=st.none() | finite,
)
records = st.one_of(
    st.builds(Joined, child=names, incarnation=numbers, version=versions),
    st.builds(Pushed, header=headers, version=versions, staleness=numbers),
    st.builds(Left, incarnation=numbers, lost=st.booleans(), version=versions),
)


def test_who_entered_a_schedule_late_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "trace.jsonl")
    with TraceFile.create(path, {}, kind="task") as trace:
        trace.seat("worker-1", 2, schedule_offset=30)
        trace.write(Joined(child="worker-1", incarnation=3, version=Version(1, 0)))
    read = read_trace(path)
    assert dict(read.offsets) == {("worker-1", 2): 30}
    assert len(read.records) == 1


def quadratic(**groups: dict[str, Any]) -> dict[str, Any]:
    return {
        "algorithm": {"name": "easgd"},
        "simulator": {"problem": "quadratic", "jitter": 0.3, "exchanges": 40, "latency_s": 0.5},
    } | groups


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), catch_exceptions=False)


def rewritten(path: Path, line: int, **values: Any) -> Path:
    """The trace with some values of one line changed."""
    lines = path.read_text().splitlines()
    lines[line] = json.dumps(json.loads(lines[line]) | values)
    path.write_text("\n".join(lines) + "\n")
    return path


@given(records)
def test_a_record_read_back_is_the_one_written(record: Record) -> None:
    assert from_json(json.loads(json.dumps(as_json(record)))) == record


@given(st.lists(records, max_size=5))
def test_a_file_read_back_holds_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, written: list[Record]
) -> None:
    path = str(tmp_path_factory.getbasetemp() / "trace.jsonl")
    config, center = {"seed": 3}, torch.arange(4.0)
    with TraceFile.create(path, config, kind="task") as file:
        for k, record in enumerate(written):
            file.write(record, time_s=0.5 * k)
        file.end(Version(1, 7), center)
    trace = read_trace(path)
    assert trace.records == tuple(written)
    assert (trace.kind, trace.config) == ("task", config)
    assert trace.center_sha256 == fingerprint(center)


@pytest.mark.parametrize("name", ["a\x85b", "a\u2028b", "a\u2029b"])
def test_a_line_ends_at_a_newline_only(tmp_path: Path, name: str) -> None:
    """Such a name may come with the configuration, as in a path of the user's data."""
    path = str(tmp_path / "trace.jsonl")
    with TraceFile.create(path, {"data": name}, kind="task"):
        pass
    assert read_trace(path).config == {"data": name}


def test_a_fingerprint_knows_every_bit() -> None:
    center = torch.tensor([0.0, 1.0])
    assert fingerprint(center) == fingerprint(center.clone())
    assert fingerprint(center) != fingerprint(torch.tensor([-0.0, 1.0]))
    assert fingerprint(torch.arange(4.0)[::2]) == fingerprint(torch.tensor([0.0, 2.0]))


def test_a_trace_of_a_tree_is_read_as_its_centers(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    simulate(quadratic(topology={"levels": TREE}), trace=str(path))
    trace = read_trace(str(path))
    assert set(children_of(trace.records).values()) == {"hub-1-0", "hub-1-1"}
    pushes = [record for record in trace.records if isinstance(record, Pushed)]
    assert [push.version.count for push in pushes] == list(range(1, len(pushes) + 1))
    assert len(path.read_text().splitlines()) > 2 + len(trace.records), "the hubs' are there too"


def test_a_run_that_did_not_end_has_a_trace_without_a_center(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    simulate(quadratic(), trace=str(path))
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    trace = read_trace(str(path))
    assert trace.center_sha256 is None
    assert len(trace.records) == 4 + 40
    assert replay(str(path))["same_center"] is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "5",
        "[]",
        "{}",
        '{"trace": 2, "kind": "task", "config": {}}',
        '{"trace": 1, "config": {}}',
        '{"trace": 1, "kind": "task", "config": {}}\n{"event": "push"}',
        '{"trace": 1, "kind": "task", "config": {}}\n{"event": "dance", "version": [1, 1]}',
        '{"trace": 1, "kind": "task", "config": {}}\n[1]',
        '{"trace": 1, "kind": "task", "config": {}}\n{"event": "jo',
    ],
)
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(BadStorage, match="it is no trace of this version") as refused:
        read_trace(str(path))
    assert refused.value.value == str(path)


@pytest.mark.parametrize("content", [None, b"hello", b"\xff\xfe\x00"])
def test_the_command_says_so_and_ends_with_two(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    result = run("simulate", "--replay", str(path))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"bad input: --replay = '{path}'")


@pytest.mark.parametrize(
    "groups",
    [
        {},
        {"topology": {"levels": TREE}},
        {"algorithm": {"name": "easgd_sync", "period": 3}},
        {"fleet": {"workers": 2}, "center": {"average": "moving"}},
    ],
)
def test_a_simulated_trace_ends_in_the_same_bits_again(
    tmp_path: Path, groups: dict[str, Any]
) -> None:
    path = str(tmp_path / "trace.jsonl")
    first = simulate(quadratic(**groups), trace=path)
    again = replay(path)
    assert again["same_center"] is True
    assert again["center_sha256"] == first["center_sha256"]
    assert again["kind"] == "simulated"


def test_another_center_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    simulate(quadratic(), trace=str(path))
    config = json.loads(path.read_text().splitlines()[0])["config"]
    again = replay(str(rewritten(path, 0, config=config | {"seed": 1})))
    assert again["same_center"] is False
    assert again["center_sha256"] != again["recorded_sha256"]


def test_the_command_replays_and_wants_nothing_beside_the_trace(tmp_path: Path) -> None:
    path = str(tmp_path / "trace.jsonl")
    simulate(quadratic(), trace=path)
    result = run("simulate", "--replay", path, "--json")
    assert json.loads(result.stdout.splitlines()[-1])["same_center"] is True
    refused = run("simulate", "--replay", path, "seed=3")
    assert refused.exit_code == 2
    assert "Give --replay alone" in refused.stderr


def test_a_loop_of_the_users_own_cannot_be_run_again(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    simulate(quadratic(), trace=str(path))
    with pytest.raises(BadStorage, match="a loop of your own, which the trace does not hold"):
        replay(str(rewritten(path, 0, kind="own_loop")))
    assert read_trace(str(path)).records, "its records can be read"


def test_a_trace_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadStorage, match="Give a file that can be written") as refused:
        simulate(quadratic(), trace=str(tmp_path / "nowhere" / "x"))
    assert refused.value.field == "--trace"
