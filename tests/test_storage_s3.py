"""A run's folder and its checkpoints on S3: the real client against a store of our own.

``RAY_EASGD_TEST_S3`` names a real bucket instead, as in
``s3://bucket/tests?endpoint_override=localhost:9000&scheme=http``, with AWS's usual variables for
the credentials.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ray_easgd.checkpoint import keep_newest, latest_checkpoint, read_checkpoint
from ray_easgd.errors import BadStorage
from ray_easgd.run_folder import Event, Metric, RunFolder
from ray_easgd.saved_hub import SavedHub
from ray_easgd.storage import Place, place_at
from tests.s3_service import Store
from tests.test_resumption import a_hub, equal, keep, look

METHOD = "mdownpour"  # its center step remembers something, so there is a state file
OPTIONS: dict[str, Any] = {"algorithm": {"name": METHOD}}


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> str:
    """A folder of this test's own in a bucket."""
    real = os.environ.get("RAY_EASGD_TEST_S3")
    if real is None:
        request.getfixturevalue("store")
    path, mark, options = (real or "s3://bucket/runs").partition("?")
    return f"{path}/{uuid.uuid4().hex}{mark}{options}"


@pytest.fixture
def folder(storage: str) -> RunFolder:
    return RunFolder.create(storage, "first")


def saved(count: int) -> SavedHub:
    return a_hub(count, method=METHOD)


def test_a_run_folder_comes_back(storage: str) -> None:
    metric = Metric(time_s=1.0, samples=64, source="worker-0", step=8, name="loss", value=0.5)
    event = Event(time_s=1.0, kind="note", source="center", message="one", details={})
    with RunFolder.create(storage, "first") as folder:
        folder.write_config("seed: 1\n")
        folder.write_metrics([metric])
        folder.write_events([event])
        folder.write_events([event])
    again = RunFolder.open(folder.path)
    assert again.read_config() == "seed: 1\n"
    assert again.read_metrics()["value"].to_pylist() == [0.5]
    assert [e["message"] for e in again.read_events()] == ["one", "one"]
    with pytest.raises(BadStorage, match="there already"):
        RunFolder.create(storage, "first")


def test_a_checkpoint_comes_back_as_it_was(folder: RunFolder) -> None:
    path = keep(folder, saved(5), method=METHOD)
    again = look(folder, **OPTIONS)
    assert again is not None
    assert again.path == path
    assert equal(again.hubs[0], saved(5))
    assert np.array_equal(read_checkpoint(path).vector, saved(5).vector)


def test_a_checkpoint_larger_than_one_part_of_an_upload_comes_back(storage: str) -> None:
    place, data = place_at(storage), np.random.default_rng(0).bytes(11 << 20)
    place.write("center", data)
    assert place.read("center") == data


def missing(name: str) -> Callable[[Place], None]:
    return lambda place: place.delete(name)


def half(name: str) -> Callable[[Place], None]:
    def cut(place: Place) -> None:
        data = place.read(name)
        place.write(name, data[: len(data) // 2])

    return cut


STAGES: dict[str, Callable[[Place], None]] = {
    "no manifest": missing("manifest.json"),
    "half a manifest": half("manifest.json"),
    "no center": missing("center.safetensors"),
    "half the center": half("center.safetensors"),
    "no state": missing("state.safetensors"),
    "half the state": half("state.safetensors"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_torn_checkpoint_is_named_and_the_one_before_used(folder: RunFolder, stage: str) -> None:
    before = keep(folder, saved(5), method=METHOD)
    newest = keep(folder, saved(9), method=METHOD)
    STAGES[stage](place_at(newest))
    told: list[str] = []
    again = look(folder, told, **OPTIONS)
    assert again is not None
    assert again.path == before
    assert again.hubs[0].version.count == 5
    torn = newest.partition("?")[0]
    assert [torn in line for line in told] == ([] if stage == "no manifest" else [True])
    assert keep(folder, saved(9), method=METHOD) == newest
    assert look(folder, **OPTIONS).path == newest  # type: ignore[union-attr]


@pytest.mark.parametrize("best", [True, False])
def test_old_checkpoints_go(folder: RunFolder, *, best: bool) -> None:
    for count, accuracy in ((3, 0.9), (5, 0.1), (20, 0.2), (100, 0.3)):
        path = keep(folder, saved(count), method=METHOD, beside={"val_accuracy": accuracy})
        keep_newest(folder, 2, best=best)
    left = {3, 20, 100} if best else {20, 100}
    for count in (3, 5, 20, 100):
        files = folder.place.names(f"checkpoints/{count}")
        assert len(files) == (3 if count in left else 0)
    assert set(folder.place.names("checkpoints")) == set(map(str, left))
    assert latest_checkpoint(folder) == path


def test_an_upload_that_is_not_complete_is_not_seen(store: Store) -> None:
    place: Any = place_at("s3://bucket/runs")
    stream = place._filesystem.open_output_stream("bucket/runs/center")
    stream.write(bytes(6 << 20))
    assert not place.exists("center")
    with pytest.raises(FileNotFoundError):
        place.read("center")
    stream.close()
    assert len(place.read("center")) == 6 << 20


def test_a_uri_can_name_the_endpoint_and_make_the_bucket(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    options = f"endpoint_override={store.endpoint}&scheme=http&allow_bucket_creation=true"
    folder = RunFolder.create(f"s3://another/runs?{options}", "first")
    assert "another" in store.buckets
    assert folder.path == f"s3://another/runs/first?{options}"
    assert RunFolder.open(folder.path).read_events() == []


def test_wrong_credentials_are_refused_with_their_reason(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    with pytest.raises(BadStorage, match="ACCESS_DENIED") as refused:
        RunFolder.create("s3://bucket/runs", "first")
    assert refused.value.field == "run.storage"


def test_a_bucket_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(BadStorage, match="nowhere"):
        RunFolder.create("s3://nowhere/runs", "first")
