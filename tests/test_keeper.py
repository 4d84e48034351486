"""What the driver writes as checkpoints, without a cluster: how good each is, and whose folder."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from actors.evaluator import Evaluation
from actors.keeper import Cut, Keeper
from ray_easgd.checkpoint import keep_best, keep_newest, latest_checkpoint, read_checkpoint
from ray_easgd.config import Config
from ray_easgd.errors import Superseded, WorkerFailed
from ray_easgd.protocol import Version
from ray_easgd.run_folder import RunFolder
from ray_easgd.storage import LocalPlace
from tests.test_resumption import LAYOUT, a_hub


def an_evaluation(val_accuracy: float) -> Evaluation:
    return Evaluation(
        version=Version(1, 0),
        samples=0,
        val_loss=1.0,
        val_accuracy=val_accuracy,
        test_loss=1.0,
        test_accuracy=val_accuracy,
        took_s=1.0,
    )


@dataclass
class Desk:
    """A keeper at a folder, and the newest test of the center."""

    folder: RunFolder
    tested: Evaluation | None = None
    pushes: int = 0
    is_usurped: bool = False
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keeper = Keeper(
            self.folder,
            Config(),
            "easgd",
            tell=lambda kind, _: self.told.append(kind),
            trained_s=lambda: 1.0,
            tested=self.look,
            schedule_clock=lambda: 7,
        )
        self.keeper.begin()

    def look(self) -> Evaluation | None:
        """Asked as the manifest is made."""
        if self.is_usurped:
            self.folder.place.write("sitting.json", b'{"token": "another"}')
        return self.tested

    def write(self, *, pushes: int = 1, is_sound: bool = True) -> str:
        self.pushes += pushes
        cut = Cut(layout=LAYOUT, hubs=(a_hub(self.pushes),))
        return self.keeper.last(cut, {}, is_sound=is_sound)

    def accuracy_of(self, path: str) -> Any:
        return read_checkpoint(path).manifest["val_accuracy"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(RunFolder.create(str(tmp_path), "r"))


def test_a_test_counts_for_the_first_checkpoint_after_it(desk: Desk) -> None:
    """The one after may be of a center that has blown up since: nobody has tested that."""
    said = [desk.accuracy_of(desk.write())]
    for accuracy in (0.9, 0.9):
        desk.tested = an_evaluation(accuracy)
        said += [desk.accuracy_of(desk.write()), desk.accuracy_of(desk.write())]
    assert said == [None, 0.9, None, 0.9, None]


def test_a_checkpoint_that_is_written_once_more_is_as_good_as_before(desk: Desk) -> None:
    """Nobody pushed in between."""
    desk.tested = an_evaluation(0.9)
    first = desk.write()
    assert desk.write(pushes=0) == first
    assert desk.accuracy_of(first) == 0.9


def test_of_a_center_that_was_kept_in_haste_no_test_says_anything(desk: Desk) -> None:
    """Its numbers may be why there was haste."""
    desk.tested = an_evaluation(0.9)
    assert desk.accuracy_of(desk.write(is_sound=False)) is None


@pytest.mark.parametrize("error", [OSError("full"), WorkerFailed("the center", "MemoryError")])
def test_a_checkpoint_that_fails_is_told_and_training_goes_on(desk: Desk, error: Exception) -> None:
    failed: Future[str] = Future()
    failed.set_exception(error)
    desk.keeper._writing = failed
    desk.keeper.look([])
    assert desk.told == ["checkpoint_failed"]


def test_a_rollback_goes_to_what_was_tested(desk: Desk) -> None:
    desk.tested = an_evaluation(0.9)
    good = desk.write()
    desk.write()  # blown up, as it turns out
    assert keep_best(desk.folder) == good
    assert [path.name for path in Path(good).parent.iterdir()] == ["1"]


def test_who_is_taken_over_during_an_upload_writes_no_word_more(desk: Desk) -> None:
    first = desk.write()

    desk.is_usurped = True
    with pytest.raises(Superseded):
        desk.write()
    assert latest_checkpoint(desk.folder) == first


def test_of_what_is_not_kept_nothing_is_left(desk: Desk) -> None:
    paths = [Path(desk.write()) for _ in range(4)]
    (paths[2] / "manifest.json").unlink()  # its writer died
    later = paths[-1].with_name("99")
    later.mkdir()  # somebody may be writing it now
    keep_newest(desk.folder, 1)
    assert sorted(path.name for path in paths[0].parent.iterdir()) == [paths[-1].name, "99"]


def test_numbers_rise_from_one_sitting_to_the_next(desk: Desk) -> None:
    """A center that was recovered from less has fewer pushes again: what it writes is the newest,
    or it would be the first to be deleted."""
    first = desk.write(pushes=1000)
    again = Desk(desk.folder)
    path = again.write(pushes=600)
    assert int(Path(path).name) > int(Path(first).name)
    assert latest_checkpoint(desk.folder) == path


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (WorkerFailed("the center", "Traceback ...\nOSError: no space left"), "no space left"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_checkpoint_that_fails_is_told_in_a_line_and_ends_no_run(
    desk: Desk, error: Exception, said: str
) -> None:
    messages = list[str]()
    desk.keeper._tell = lambda _, message: messages.append(message)
    desk.keeper._writing = Future()
    desk.keeper._writing.set_exception(error)
    desk.keeper.look([])
    (message,) = messages
    assert said in message
    assert "the run has ended" not in message
    assert "\n" not in message


def test_whoever_took_the_seat_meanwhile_is_told_of_also_in_the_background(desk: Desk) -> None:
    desk.keeper._writing = Future()
    desk.keeper._writing.set_exception(Superseded("r"))
    with pytest.raises(Superseded):
        desk.keeper.look([])


def test_a_test_counts_for_the_next_checkpoint_where_one_could_not_be_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> str:
        raise OSError("full")

    desk.tested = an_evaluation(0.9)
    with monkeypatch.context() as patch:
        patch.setattr("actors.keeper.write_checkpoint", full)
        with pytest.raises(OSError, match="full"):
            desk.write()
    assert desk.accuracy_of(desk.write()) == 0.9


def test_what_cannot_be_deleted_now_goes_another_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads it, on a file system that keeps it then."""

    def is_read(_: LocalPlace) -> None:
        raise OSError("busy")

    paths = [Path(desk.write()) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(LocalPlace, "delete_all", is_read)
        keep_newest(desk.folder, 1)
    assert paths[0].exists()
    assert not (paths[0] / "manifest.json").exists(), "it is none any more"
    keep_newest(desk.folder, 1)
    assert not paths[0].exists()


def test_a_checkpoint_is_one_though_older_ones_cannot_be_deleted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError("no answer")

    monkeypatch.setattr("actors.keeper.keep_newest", fails)
    assert latest_checkpoint(desk.folder) is None
    assert desk.write() == latest_checkpoint(desk.folder)
