"""Text, a token per character."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ray_easgd.data import open_data
from ray_easgd.data.text import BLOCK
from ray_easgd.errors import BadData

TEXT = "To be, or not to be: that is the question. é€\n" * 60


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_EASGD_DATA", str(tmp_path))
    (tmp_path / "play").mkdir()
    (tmp_path / "play/input.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def test_the_vocabulary_is_the_texts_characters() -> None:
    spec = open_data("play", seed=0).spec
    assert (spec.kind, spec.input_shape) == ("text", (BLOCK,))
    assert spec.num_classes == len(set(TEXT))


def test_each_target_is_the_next_token() -> None:
    inputs, targets = open_data("play", seed=0).train.batch(np.arange(4))
    assert inputs.shape == targets.shape == (4, BLOCK)
    assert (inputs[:, 1:] == targets[:, :-1]).all()


def test_the_last_tenth_of_the_text_is_the_test_set() -> None:
    test = open_data("play", seed=0).test
    inputs, _ = test.batch(np.arange(len(test)))
    characters = sorted(set(TEXT))
    read = "".join(characters[token] for token in inputs.flatten().tolist())
    start = len(TEXT) - len(TEXT) // 10
    assert read == TEXT[start : start + len(read)]


def test_blocks_do_not_overlap() -> None:
    sets = open_data("play", seed=0)
    blocks = len(sets.train) + len(sets.validation)
    assert blocks == (len(TEXT) - len(TEXT) // 10 - 1) // BLOCK


def test_a_text_too_short_for_a_block_is_refused(root: Path) -> None:
    (root / "play/input.txt").write_text("To be")
    with pytest.raises(BadData, match="0 training and 0 test samples"):
        open_data("play", seed=0)


def test_bytes_that_are_no_text_are_refused(root: Path) -> None:
    (root / "play/input.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadData, match=r"input\.txt cannot be read"):
        open_data("play", seed=0)
