"""Names of data sets, and what using them imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from ray_easgd.data import open_data
from ray_easgd.data.torchvision_sets import arrays, download
from ray_easgd.errors import BadData
from tests.image_files import png_folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_EASGD_DATA", str(tmp_path))
    png_folder(tmp_path / "fashion", 4, 4)
    return tmp_path


class Letters:
    """A class with torchvision's manners that needs no network."""

    def __init__(self, root: Path, *, train: bool, download: bool) -> None:
        assert download
        self.train = train

    def __len__(self) -> int:
        return 20 if self.train else 4

    def __getitem__(self, row: int) -> Any:
        from PIL import Image

        return Image.new("L", (6, 5), row), row % 4


class Unreachable(Letters):
    def __init__(self, root: Path, *, train: bool, download: bool) -> None:
        raise URLError("no route to host")


class WithoutTest(Letters):
    def __init__(self, root: Path, *, split: str, download: bool) -> None:
        raise ValueError(f"unknown split {split}")


def test_digits_come_with_the_installation() -> None:
    sets = open_data("digits", seed=0)
    assert (sets.spec.input_shape, sets.spec.num_classes) == ((1, 8, 8), 10)
    assert [len(s) for s in (sets.train, sets.validation, sets.test)] == [1294, 143, 360]


def test_the_digits_test_set_has_a_fifth_of_each_class() -> None:
    test = open_data("digits", seed=0).test
    counts = np.bincount(test.batch(np.arange(len(test)))[1].numpy())
    assert counts.min() >= 34
    assert counts.max() <= 38


def test_the_seed_moves_the_validation_set_and_not_the_test_set() -> None:
    first, second = (open_data("digits", seed=seed) for seed in (0, 1))
    assert (first.test.batch(np.arange(50))[1] == second.test.batch(np.arange(50))[1]).all()
    validation = [s.validation.batch(np.arange(143))[1] for s in (first, second)]
    assert (validation[0] != validation[1]).any()


def test_a_bare_name_is_looked_up_in_the_data_folder(root: Path) -> None:
    open_data("fashion", seed=0)
    assert open_data("fashion", seed=0).spec.input_shape == (1, 4, 4)


def test_a_path_needs_no_data_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_EASGD_DATA")
    assert open_data(str(root / "fashion"), seed=0).spec.input_shape == (1, 4, 4)


def test_an_unknown_name_is_refused_with_the_nearest_and_all(root: Path) -> None:
    with pytest.raises(BadData, match=r"Did you mean fashion\? Known: digits, fashion, "):
        open_data("fashon", seed=0)


def test_a_name_without_a_data_folder_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_EASGD_DATA", raising=False)
    with pytest.raises(BadData, match=r"RAY_EASGD_DATA is not set.*Known: digits"):
        open_data("mnist", seed=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [("s4://bucket/mnist", "cannot be read"), ("", "no such data set"), ("/no/where", "no such")],
)
def test_names_of_nothing_are_refused(name: str, message: str, root: Path) -> None:
    with pytest.raises(BadData, match=message):
        open_data(name, seed=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:MNISD", "Did you mean MNIST"),
        ("torchvision:FakeData", "cannot download"),
        ("torchvision:../up", "no class of torchvision"),
    ],
)
def test_torchvision_sets_that_cannot_be_had_are_refused(name: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        open_data(name, seed=0)


def test_a_torchvision_set_is_kept_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    monkeypatch.setenv("RAY_EASGD_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets, "MNIST", Letters)
    sets = open_data("torchvision:MNIST", seed=0)
    assert (sets.spec.input_shape, sets.spec.num_classes) == ((1, 5, 6), 4)
    monkeypatch.setattr(datasets, "MNIST", Unreachable)
    assert len(open_data("torchvision:MNIST", seed=0).test) == 4


@pytest.mark.parametrize(
    ("unlucky", "message"),
    [(Unreachable, "download failed.*no route"), (WithoutTest, "no split test")],
)
def test_a_download_that_fails_says_why(tmp_path: Path, unlucky: Any, message: str) -> None:
    with pytest.raises(BadData, match=message):
        download("torchvision:It", unlucky, tmp_path, "test")


def test_torchvision_images_become_arrays() -> None:
    from torchvision.datasets import FakeData

    images, labels = arrays("it", FakeData(size=3, image_size=(3, 6, 7), num_classes=5))
    assert images.shape == (3, 3, 6, 7)
    assert labels.dtype == np.int64


PROBE = """
import sys
import numpy as np
import ray_easgd.models
from ray_easgd.data import open_data
for name in ("digits", "fashion"):
    open_data(name, seed=0).train.batch(np.arange(4))
heavy = {"torchvision", "sklearn", "pyarrow", "PIL", "torch._dynamo", "ray"}
print(sorted(heavy & set(sys.modules)))
"""


def test_a_worker_on_prepared_grey_data_imports_no_decoder(root: Path) -> None:
    open_data("digits", seed=0)
    open_data("fashion", seed=0)
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
