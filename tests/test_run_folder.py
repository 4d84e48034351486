"""A run's folder: whole files at any moment, nothing lost, clear refusals."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import uuid
from datetime import datetime
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from ray_easgd import strict_json
from ray_easgd.errors import BadStorage
from ray_easgd.run_folder import Event, Metric, RunFolder


def metric(value: float = 0.5, time_s: float = 1.0, name: str = "loss") -> Metric:
    return Metric(
        time_s=time_s, samples=int(64 * time_s), source="worker-0", step=8, name=name, value=value
    )


def event(message: str = "hello", time_s: float = 1.0, **details: object) -> Event:
    return Event(time_s=time_s, kind="note", source="center", message=message, details=details)


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder of this machine, and one of an object store (in memory)."""
    remote = f"fsspec+memory:///{uuid.uuid4().hex}/runs"
    return str(tmp_path / "deep" / "runs") if request.param == "local" else remote


def test_everything_written_is_read_back(storage: str) -> None:
    with RunFolder.create(storage, "first") as folder:
        folder.write_config("seed: 1\n")
        folder.write_metrics([metric(0.5), metric(0.25, 2.0)])
        folder.write_metrics([metric(0.125, 3.0)])
        folder.write_events([event("one"), event("two", 2.0, worker=3)])
        folder.write_events([event("three", 3.0)])
        folder.write_result({"samples": 192})
    again = RunFolder.open(folder.path)
    assert again.name == "first"
    assert again.read_config() == "seed: 1\n"
    assert again.read_result() == {"samples": 192}
    assert again.read_metrics()["value"].to_pylist() == [0.5, 0.25, 0.125]
    assert [e["message"] for e in again.read_events()] == ["one", "two", "three"]
    assert again.read_events()[1]["details"] == {"worker": 3}


def test_a_new_folder_is_empty_but_readable(storage: str) -> None:
    folder = RunFolder.create(storage, "first")
    assert folder.read_metrics().num_rows == 0
    assert folder.read_metrics().column_names == list(Metric.__slots__)
    assert folder.read_events() == []
    assert folder.read_config() == ""
    assert folder.read_result() is None


def test_a_name_that_is_taken_is_refused_with_a_remedy(storage: str) -> None:
    first = RunFolder.create(storage, "first")
    with pytest.raises(BadStorage, match="there already") as refused:
        RunFolder.create(storage, "first")
    assert refused.value.field == "run.name"
    assert f"ray-easgd show {first.path}" in refused.value.remedy


def test_an_empty_folder_of_that_name_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    assert RunFolder.create(str(tmp_path), "first").read_events() == []


def test_somebody_elses_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "thesis.tex").write_text("years of work")
    with pytest.raises(BadStorage, match="there already"):
        RunFolder.create(str(tmp_path), "first")


def test_storage_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BadStorage, match=r"run\.storage = .*cannot write"):
        RunFolder.create(str(tmp_path / "file"), "first")


@pytest.mark.parametrize("uri", ["nowhere://bucket/runs", "fsspec+nothing://runs"])
def test_an_unknown_kind_of_storage_is_refused(uri: str) -> None:
    with pytest.raises(BadStorage, match="cannot be reached") as refused:
        RunFolder.create(uri, "first")
    assert refused.value.field == "run.storage"


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a?b", "a\nb"])
def test_a_name_that_is_not_one_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadStorage, match="one folder"):
        RunFolder.create(str(tmp_path), name)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder.create("~/runs", "first").path == str(tmp_path / "runs" / "first")


def test_a_file_uri_is_a_local_folder(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path.as_uri(), "first").path == str(tmp_path / "first")


def test_options_of_a_uri_stay_behind_the_path() -> None:
    storage = f"fsspec+memory:///{uuid.uuid4().hex}?region=eu"
    folder = RunFolder.create(storage, "first")
    assert folder.path == storage.replace("?", "/first?")
    assert folder.name == "first"


@pytest.mark.parametrize("path", ["empty", "missing"])
def test_only_the_folder_of_a_run_opens(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadStorage, match="not the folder of a run"):
        RunFolder.open(str(tmp_path / path))


def test_a_folder_opened_again_is_added_to(storage: str) -> None:
    with RunFolder.create(storage, "first") as folder:
        folder.write_metrics([metric(1.0)])
        folder.write_events([event("one")])
    with RunFolder.open(folder.path) as again:
        again.write_metrics([metric(2.0)])
        again.write_events([event("two")])
        assert again.read_metrics()["value"].to_pylist() == [1.0, 2.0]
        assert [e["message"] for e in again.read_events()] == ["one", "two"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_survive_everywhere(storage: str, value: float) -> None:
    with RunFolder.create(storage, "first") as folder:
        folder.write_metrics([metric(value)])
        folder.write_events([event(norms=[1.0, value])])
        folder.write_result({"train_loss": value})
    result = folder.read_result()
    assert result is not None
    (norms,) = (e["details"]["norms"] for e in folder.read_events())
    for kept in (folder.read_metrics()["value"][0].as_py(), norms[1], result["train_loss"]):
        assert repr(kept) == repr(value)


def test_json_with_non_finite_numbers_is_still_json() -> None:
    text = strict_json.dumps({"a/b": math.nan, "c": [1.0, {"d~": -math.inf}], "e": Path("/f")})
    plain = json.loads(text, parse_constant=pytest.fail)
    assert plain["a/b"] is None
    assert plain["non_finite"] == {"/a~1b": "nan", "/c/1/d~0": "-inf"}
    back = strict_json.loads(text)
    assert back["c"] == [1.0, {"d~": -math.inf}]
    assert math.isnan(back["a/b"])
    assert back["e"] == "/f"
    with pytest.raises(ValueError, match="JSON object"):
        strict_json.loads("[1]")


def test_numpy_numbers_become_plain_ones() -> None:
    import numpy as np

    record = {"a": np.float32(0.5), "b": np.arange(3), "c": np.float32(math.inf), "d": {1, 2}}
    assert strict_json.loads(strict_json.dumps(record)) == {
        "a": 0.5,
        "b": [0, 1, 2],
        "c": math.inf,
        "d": [1, 2],
    }


def test_an_event_that_a_crash_cut_off_disappears(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "first")
    folder.write_events([event("one")])
    log = Path(folder.path) / "events.jsonl"
    with log.open("a") as file:
        file.write('{"time_s": 1.0, "kind"')
    assert [e["message"] for e in folder.read_events()] == ["one"]
    again = RunFolder.open(folder.path)
    again.write_events([event("two")])
    assert [e["message"] for e in again.read_events()] == ["one", "two"]


def test_an_event_of_many_lines_takes_one(storage: str) -> None:
    folder = RunFolder.create(storage, "first")
    folder.write_events([event("Traceback:\n  line\u2028 two"), event("after")])
    assert [e["message"] for e in folder.read_events()] == ["Traceback:\n  line\u2028 two", "after"]


def test_events_carry_the_wall_time_at_which_they_happened(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "first")
    folder.write_events([event(time_s=10.0), event(time_s=12.5)])
    folder.write_events([event(time_s=70.0)])
    first, second, third = (datetime.fromisoformat(e["time"]) for e in folder.read_events())
    assert first.utcoffset() is not None
    assert (second - first).total_seconds() == pytest.approx(2.5, abs=2e-3)
    assert (third - first).total_seconds() == pytest.approx(60.0, abs=2e-3)


def test_unfinished_files_are_invisible(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path), "first")
    folder.write_metrics([metric()])
    folder.close()
    parts = Path(folder.path) / "metrics"
    (parts / ".part-00001.parquet.unfinished").write_bytes(b"PAR1 half")
    assert RunFolder.open(folder.path).read_metrics().num_rows == 1


def test_tensorboard_has_each_number_against_samples(tmp_path: Path) -> None:
    with RunFolder.create(str(tmp_path), "first") as folder:
        folder.write_metrics([metric(0.5, 1.0), metric(0.25, 2.0), metric(0.9, 2.0, "step_rate")])
    curves = EventAccumulator(str(tmp_path / "first" / "tensorboard")).Reload()
    assert curves.Tags()["scalars"] == ["worker-0/loss", "worker-0/step_rate"]
    points = curves.Scalars("worker-0/loss")
    assert [(p.step, p.value) for p in points] == [(64, 0.5), (128, 0.25)]
    assert points[1].wall_time - points[0].wall_time == pytest.approx(1.0, abs=1e-3)


def test_tensorboard_files_reach_remote_storage_on_close() -> None:
    folder = RunFolder.create(f"fsspec+memory:///{uuid.uuid4().hex}", "first")
    folder.write_metrics([metric()])
    assert folder.place.names("tensorboard") == []
    folder.close()
    folder.close()
    (name,) = folder.place.names("tensorboard")
    assert len(folder.place.read(f"tensorboard/{name}")) > 0


def test_importing_the_folder_is_cheap() -> None:
    heavy = ["pyarrow", "tensorboard", "matplotlib", "rich", "numpy", "torch", "ray"]
    modules = "ray_easgd.run_folder, ray_easgd.checkpoint, ray_easgd.display"
    program = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
