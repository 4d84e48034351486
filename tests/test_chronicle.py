"""What the driver writes down, into a folder that cannot always be written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.chronicle import Chronicle
from actors.words import Note
from ray_easgd.display import Silence
from ray_easgd.run_folder import EVENTS, METRICS, RunFolder


class Heard(Silence):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def event(self, text: str) -> None:
        self.events.append(text)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(str(tmp_path), "run")


def note(value: float) -> Note:
    return Note(source="worker-0", step=1, name="loss", value=value, at=1.0)


def test_events_wait_for_room_and_none_is_lost(folder: RunFolder, heard: Heard) -> None:
    chronicle, file = Chronicle(folder, heard, 0.0), Path(folder.path, EVENTS)
    chronicle.tell("first", "one")
    file.rename(file.with_name("aside"))
    file.mkdir()  # nothing can be appended to a folder
    chronicle.tell("second", "two")
    chronicle.tell("third", "three")
    file.rmdir()
    file.with_name("aside").rename(file)
    chronicle.tell("fourth", "four")
    assert [event["kind"] for event in folder.read_events()] == [
        "first",
        "second",
        "third",
        "fourth",
    ]
    (trouble,) = [text for text in heard.events if "cannot be written to" in text]
    assert str(file.parent) in trouble
    assert [text for text in heard.events if text != trouble] == ["one", "two", "three", "four"]


def test_numbers_wait_for_room_and_none_is_written_twice(folder: RunFolder, heard: Heard) -> None:
    chronicle, place = Chronicle(folder, heard, 0.0), Path(folder.path, METRICS)
    chronicle.note(note(1.0), 0)
    place.write_text("a file where the folder should be")
    chronicle.write()
    chronicle.note(note(2.0), 0)
    place.unlink()
    chronicle.write()
    chronicle.write()
    folder.close()
    assert folder.read_metrics().column("value").to_pylist() == [1.0, 2.0]
    assert len(heard.events) == 1
