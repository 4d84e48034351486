"""What workers leave for others: taken once, fresh, and not kept for ever."""

from __future__ import annotations

import numpy as np
import pytest

from actors import bequests
from actors.bequests import FRESH_S, MOST, Bequests
from ray_easgd.belongings import Belongings


class Hour:
    """A clock that is set by hand, and what was told."""

    def __init__(self) -> None:
        self.now, self.told = 0.0, list[str]()
        self.bequests = Bequests(self.told.append, lambda: self.now)

    def leave(self, owner: str, size: int = 1) -> None:
        vector = np.zeros(size, np.float32)
        self.bequests.leave(Belongings(owner=owner, vector=vector, step=b"", random=b""))

    def taken(self) -> str | None:
        left = self.bequests.take()
        return None if left is None else left.owner


@pytest.fixture
def hour() -> Hour:
    return Hour()


def test_each_is_taken_once_the_oldest_first(hour: Hour) -> None:
    for owner in "ab":
        hour.leave(owner)
    assert [hour.taken(), hour.taken(), hour.taken()] == ["a", "b", None]
    assert hour.told == []


def test_what_nobody_takes_in_time_is_dropped_and_told(hour: Hour) -> None:
    hour.leave("a")
    hour.now = FRESH_S
    hour.leave("b")
    assert len(hour.bequests) == 1
    (told,) = hour.told
    assert told.startswith("what a left")
    hour.now = 2 * FRESH_S
    hour.bequests.look()
    assert len(hour.bequests) == 0, "it takes no memory while nobody asks"
    assert hour.taken() is None


def test_so_many_are_kept_and_so_large(hour: Hour, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(MOST + 2):
        hour.leave(str(k))
    assert (len(hour.bequests), len(hour.told)) == (MOST, 2)
    monkeypatch.setattr(bequests, "MOST_BYTES", 4000)
    hour.leave("large", size=1500)
    assert len(hour.told) == 3, "one too many; the newest does not count, however large"
    hour.leave("after", size=1)
    assert [hour.taken(), hour.taken()] == ["after", None]
