"""What a checkpoint says to the run that goes on from it, without a cluster."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ray_easgd.algorithms import METHODS
from ray_easgd.checkpoint import (
    best_checkpoint,
    keep_best,
    keep_newest,
    latest_checkpoint,
    read_checkpoint,
    to_keep,
    write_checkpoint,
)
from ray_easgd.config import Config
from ray_easgd.errors import BadConfig, Superseded
from ray_easgd.hub import Hub, options_for
from ray_easgd.parameters import Slot
from ray_easgd.protocol import Interval, PushHeader, Version
from ray_easgd.resumption import Resumption, Sitting, described, found, state_of
from ray_easgd.run_folder import RunFolder
from ray_easgd.saved_hub import SavedHub, save

LAYOUT = (Slot("a", (2, 3), 0, 6), Slot("b", (2,), 6, 2))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(str(tmp_path), "r")


def a_hub(pushes: int, *, method: str = "easgd", average: Any = None, n: int = 8) -> SavedHub:
    hub = Hub(options_for(METHODS[method], average=average))
    life = hub.admit("w", torch.zeros(n), LAYOUT)
    for k in range(pushes):
        header = PushHeader(
            incarnation=life,
            sequence=k + 1,
            computed_from=Version(1, 0),
            steps=2,
            progress=(Interval(0, 10 * k, 10 * k + 10),),
        )
        hub.apply(header, torch.arange(n, dtype=torch.float32))
    return save(hub)


def keep(
    folder: RunFolder,
    *hubs: SavedHub,
    method: str = "easgd",
    beside: Mapping[str, object] | None = None,
) -> str:
    vectors = [hub.vector if hub.judged is None else hub.judged for hub in hubs]
    return write_checkpoint(
        folder,
        hubs[0].version.count,
        vector=np.concatenate(vectors),
        layout=LAYOUT,
        manifest={**described(hubs, Config(), method, trained_s=12.5), **(beside or {})},
        state=state_of(hubs),
    )


def look(folder: RunFolder, told: list[str] | None = None, **sections: Any) -> Resumption | None:
    method = sections.get("algorithm", {}).get("name", "easgd")
    tell = (told if told is not None else []).append
    return found(folder, Config.build(sections), method, tell)


def equal(one: SavedHub, other: SavedHub) -> bool:
    same_state = one.state.keys() == other.state.keys() and all(
        np.array_equal(one.state[name], other.state[name]) for name in one.state
    )
    return (
        same_state
        and np.array_equal(one.vector, other.vector)
        and one.as_record() == other.as_record()
    )


@pytest.mark.parametrize("method", ["easgd", "mdownpour", "admm_async", "diloco_async"])
@pytest.mark.parametrize("average", ["none", "polyak"])
def test_a_center_comes_back_as_it_was(folder: RunFolder, method: str, average: str) -> None:
    saved = a_hub(5, method=method, average=average)
    path = keep(folder, saved, method=method)
    again = look(folder, algorithm={"name": method})
    assert again is not None
    assert (again.path, again.trained_s, again.layout) == (path, 12.5, LAYOUT)
    assert equal(again.hubs[0], saved)
    assert again.progress.num_distinct == 50
    judged = saved.vector if saved.judged is None else saved.judged
    assert np.array_equal(read_checkpoint(path).vector, judged), "what is tested is what is kept"


def test_slices_come_back_each_with_its_own(folder: RunFolder) -> None:
    parts = a_hub(3, n=5), a_hub(4, n=3)
    keep(folder, *parts)
    again = look(folder, exchange={"fragments": 2})
    assert again is not None
    assert all(map(equal, again.hubs, parts))


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"model": "small_cnn"}, "model"),
        ({"data": "mnist"}, "data"),
        ({"algorithm": {"name": "eamsgd"}}, "algorithm.name"),
        ({"exchange": {"fragments": 3}}, "exchange.fragments"),
    ],
)
def test_another_run_is_not_mixed_with_it(
    folder: RunFolder, sections: dict[str, Any], field: str
) -> None:
    keep(folder, a_hub(2))
    with pytest.raises(BadConfig, match=r"choose another run\.name") as refused:
        look(folder, **sections)
    assert refused.value.field == field


def test_a_checkpoint_tells_where_workers_were_in_their_schedule(folder: RunFolder) -> None:
    keep(folder, a_hub(2))
    old = look(folder)
    keep(folder, a_hub(3), beside={"schedule_clock": 900})
    new = look(folder)
    assert old is not None
    assert new is not None
    assert (old.schedule_clock, new.schedule_clock) == (0, 900)


def test_the_best_checkpoint_is_named(folder: RunFolder) -> None:
    assert best_checkpoint(folder) is None
    keep(folder, a_hub(1))
    assert best_checkpoint(folder) is None, "nobody has tested it"
    accuracies = {2: 0.7, 3: 0.9, 4: 0.8}
    paths = {k: keep(folder, a_hub(k), beside={"val_accuracy": a}) for k, a in accuracies.items()}
    assert best_checkpoint(folder) == paths[3]
    assert len(paths) == 3, "and none is deleted"


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(folder: RunFolder) -> None:
    assert look(folder) is None


TEARS: dict[str, Callable[[Path], None]] = {
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "half a manifest": lambda path: cut(path / "manifest.json"),
    "half the center": lambda path: cut(path / "center.safetensors"),
    "no center": lambda path: (path / "center.safetensors").unlink(),
    "an altered center": lambda path: alter(path / "center.safetensors"),
    "half the state": lambda path: cut(path / "state.safetensors"),
    "no state": lambda path: (path / "state.safetensors").unlink(),
}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def alter(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_checkpoint_is_named_and_the_one_before_used(folder: RunFolder, tear: str) -> None:
    method: dict[str, Any] = {"algorithm": {"name": "mdownpour"}}
    before = keep(folder, a_hub(5, method="mdownpour"), method="mdownpour")
    newest = keep(folder, a_hub(9, method="mdownpour"), method="mdownpour")
    TEARS[tear](Path(newest))
    told: list[str] = []
    again = look(folder, told, **method)
    assert again is not None
    assert again.path == before
    assert again.hubs[0].version.count == 5
    assert [newest in line for line in told] == ([] if tear == "no manifest" else [True])
    rewritten = keep(folder, a_hub(9, method="mdownpour"), method="mdownpour")
    assert rewritten == newest
    assert look(folder, **method).path == newest  # type: ignore[union-attr]


def test_the_newest_are_kept(folder: RunFolder) -> None:
    paths = [keep(folder, a_hub(count)) for count in (3, 5, 20, 100)]
    keep_newest(folder, 2)
    assert [Path(path, "manifest.json").exists() for path in paths] == [False, False, True, True]
    assert not Path(paths[0], "center.safetensors").exists()
    assert latest_checkpoint(folder) == paths[3]


@pytest.mark.parametrize(
    ("accuracies", "kept"),
    [
        ({1: 0.9, 2: 0.5, 3: 0.6, 4: 0.7}, {1, 3, 4}),
        ({1: 0.5, 2: 0.6, 3: 0.7, 4: 0.9}, {3, 4}),
        ({1: 0.9, 2: 0.9, 3: 0.1, 4: 0.1}, {2, 3, 4}),
        ({1: math.nan, 2: 0.0, 3: None, 4: None}, {2, 3, 4}),
        ({1: None, 2: None, 3: None, 4: None}, {3, 4}),
        ({7: 0.5}, {7}),
        ({}, set()),
    ],
)
def test_the_newest_two_and_the_best_are_to_keep(
    accuracies: dict[int, float | None], kept: set[int]
) -> None:
    assert to_keep(accuracies, 2) == kept


@pytest.mark.parametrize("best", [True, False])
def test_the_best_is_kept_where_it_is_asked_for(folder: RunFolder, *, best: bool) -> None:
    known = {3: 0.5, 5: 0.9, 20: None, 100: 0.7}
    for count, accuracy in known.items():
        beside = {} if accuracy is None else {"val_accuracy": accuracy}
        keep(folder, a_hub(count), beside=beside)
        keep_newest(folder, 2, best=best)
    left = {k for k in known if folder.place.exists(f"checkpoints/{k}/manifest.json")}
    assert left == ({5, 20, 100} if best else {20, 100})


def test_a_torn_checkpoint_is_the_best_of_nothing(folder: RunFolder) -> None:
    torn = keep(folder, a_hub(3), beside={"val_accuracy": 0.9})
    for count in (5, 20, 100):
        keep(folder, a_hub(count), beside={"val_accuracy": 0.1})
    cut(Path(torn) / "manifest.json")
    keep_newest(folder, 2, best=True)
    assert not Path(torn, "center.safetensors").exists()


def test_a_later_driver_takes_the_seat(folder: RunFolder) -> None:
    first = Sitting(folder)
    first.check()
    second = Sitting(folder)
    second.check()
    with pytest.raises(Superseded, match="another driver"):
        first.check()


def test_after_a_rollback_only_the_best_checkpoint_is_left(folder: RunFolder) -> None:
    for count, accuracy in {1: 0.4, 2: 0.9, 3: 0.9, 5: 0.2}.items():
        keep(folder, a_hub(count), beside={"val_accuracy": accuracy})
    best = keep_best(folder)
    assert best == latest_checkpoint(folder)
    assert Path(best or "").name == "3"


def test_without_a_word_on_accuracy_a_rollback_goes_back_to_the_beginning(
    folder: RunFolder,
) -> None:
    keep(folder, a_hub(3))
    assert keep_best(folder) is None
    assert latest_checkpoint(folder) is None
