"""Data that lies in a bucket: the real client against an S3 of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ray_easgd.data import open_data
from ray_easgd.errors import BadData
from tests.image_files import png_folder
from tests.s3_service import Store

URI = "s3://bucket/sets/it"
ALL_TEST = np.arange(5)


def upload(store: Store, folder: Path) -> None:
    store.objects |= {f"bucket/sets/it/{file.name}": file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_EASGD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_bucket_is_read_as_the_same_folder_here(
    store: Store, cache: Path, tmp_path: Path
) -> None:
    png_folder(tmp_path / "it", 6, 5, 3)
    upload(store, tmp_path / "it")
    here, there = (open_data(name, seed=0) for name in (str(tmp_path / "it"), URI))
    for mine, its in zip(here.test.batch(ALL_TEST), there.test.batch(ALL_TEST), strict=True):
        assert torch.equal(mine, its)


def test_it_is_copied_once_and_again_only_where_it_has_changed(
    store: Store, cache: Path, tmp_path: Path
) -> None:
    def copies() -> int:
        return len(list(cache.glob("it-*-files-v?")))

    png_folder(tmp_path / "it", 6, 5, 3)
    upload(store, tmp_path / "it")
    before, _ = open_data(URI, seed=0).test.batch(ALL_TEST)
    open_data(URI, seed=0)
    assert copies() == 1
    png_folder(tmp_path / "other", 8, 8, 3)
    upload(store, tmp_path / "other")
    after, _ = open_data(URI, seed=0).test.batch(ALL_TEST)
    assert copies() == 2
    assert after.shape[1:] == (3, 8, 8) != before.shape[1:]


def test_a_copy_does_while_the_bucket_does_not_answer(
    store: Store, cache: Path, tmp_path: Path
) -> None:
    """A worker that is replaced meanwhile goes on."""
    png_folder(tmp_path / "it", 6, 5, 3)
    upload(store, tmp_path / "it")
    before, _ = open_data(URI, seed=0).test.batch(ALL_TEST)
    store.key = "another"  # nobody is let in any more
    after, _ = open_data(URI, seed=0).test.batch(ALL_TEST)
    assert torch.equal(before, after)


def test_text_in_a_bucket_is_text(store: Store, cache: Path) -> None:
    store.objects["bucket/words/input.txt"] = b"to be or not to be, " * 200
    assert open_data("s3://bucket/words", seed=0).spec.kind == "text"


def test_a_local_uri_is_not_copied(cache: Path, tmp_path: Path) -> None:
    png_folder(tmp_path / "it", 6, 5, 3)
    assert len(open_data(f"file://{tmp_path / 'it'}", seed=0).test) == 5
    assert not list(cache.glob("*-files-*"))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://nowhere/it", "cannot be read"),
        (
            "s3://bucket/empty",
            "none of train.parquet, train.arrow, test.parquet, test.arrow, input.txt",
        ),
    ],
)
def test_what_is_not_there_is_named_with_a_remedy(
    store: Store, cache: Path, uri: str, said: str
) -> None:
    store.objects["bucket/empty/readme"] = b"nothing"
    with pytest.raises(BadData, match=said) as caught:
        open_data(uri, seed=0)
    assert caught.value.value == uri
    assert "folder" in caught.value.remedy
