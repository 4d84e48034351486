"""Image folders that are decoded beforehand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ray_easgd.data import open_data
from ray_easgd.errors import BadData
from tests.image_files import encode, png_folder, random_pixels, write_file, write_folder

ALL_TEST = np.arange(5)


def standardised(pixels: Any, train: Any) -> torch.Tensor:
    """The contract, in float64: uint8 / 255, standardised by the training set per channel."""
    axes = tuple(range(train.ndim - 1)) if train.ndim == 4 else None
    scaled = (pixels / 255 - (train / 255).mean(axes)) / (train / 255).std(axes)
    channels_first = scaled.transpose(0, 3, 1, 2) if train.ndim == 4 else scaled[:, None]
    return torch.from_numpy(channels_first).float()


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
def test_test_images_arrive_standardised_and_in_order(tmp_path: Path, shape: Any) -> None:
    train, test = png_folder(tmp_path / "it", *shape)
    inputs, targets = open_data(str(tmp_path / "it"), seed=0).test.batch(ALL_TEST)
    torch.testing.assert_close(inputs, standardised(test, train))
    assert targets.tolist() == [0, 1, 2, 0, 1]


def test_validation_images_are_training_images_as_they_are(tmp_path: Path) -> None:
    train, _ = png_folder(tmp_path / "it", 6, 6, 3)
    sets = open_data(str(tmp_path / "it"), seed=0)
    inputs, _ = sets.validation.batch(np.arange(2))
    originals = standardised(train, train)
    assert len(sets.train) == 18
    assert len(sets.validation) == 2
    for image in inputs:
        assert min((image - other).abs().max() for other in originals) < 1e-5


def test_the_spec_is_what_a_model_sees(tmp_path: Path) -> None:
    png_folder(tmp_path / "it", 8, 10, 3)
    spec = open_data(str(tmp_path / "it"), seed=0).spec
    assert (spec.kind, spec.input_shape, spec.num_classes) == ("image", (3, 8, 10), 3)
    assert open_data(str(tmp_path / "it"), seed=0, crop=6).spec.input_shape == (3, 6, 6)


def test_jpeg_and_palette_images_are_read_too(tmp_path: Path) -> None:
    grey = encode(np.full((8, 8, 3), 128, np.uint8), "JPEG")
    write_folder(tmp_path / "it", [grey] * 4, [grey] * 2)
    inputs, _ = open_data(str(tmp_path / "it"), seed=0).test.batch(np.arange(2))
    assert inputs.shape == (2, 3, 8, 8)
    assert inputs.abs().max() < 1e-4  # a set without contrast is only centered


def test_class_names_in_the_metadata_count_the_classes(tmp_path: Path) -> None:
    png_folder(tmp_path / "it", 4, 4)
    images = [encode(p) for p in random_pixels(4, 4, 4)]
    write_file(tmp_path / "it/train.parquet", images, names=list("abcdefg"))
    assert open_data(str(tmp_path / "it"), seed=0).spec.num_classes == 7


def test_grey_images_with_a_crop_give_their_center(tmp_path: Path) -> None:
    train, test = png_folder(tmp_path / "it", 8, 8)
    sets = open_data(str(tmp_path / "it"), seed=0, crop=4)
    inputs, _ = sets.test.batch(ALL_TEST)
    torch.testing.assert_close(inputs, standardised(test, train)[:, :, 2:6, 2:6])
    again, _ = sets.train.batch(ALL_TEST)
    assert torch.equal(again, sets.train.batch(ALL_TEST)[0])  # nothing random about grey


def test_a_file_that_changed_is_decoded_again(tmp_path: Path) -> None:
    folder = tmp_path / "it"
    png_folder(folder, 4, 4)
    before, _ = open_data(str(folder), seed=0).test.batch(ALL_TEST)
    stamp = (folder / "test.parquet").stat().st_mtime_ns
    write_file(folder / "test.parquet", [encode(p) for p in random_pixels(5, 4, 4, seed=9)])
    os.utime(folder / "test.parquet", ns=(stamp + 1, stamp + 1))
    after, _ = open_data(str(folder), seed=0).test.batch(ALL_TEST)
    assert not torch.equal(before, after)


def test_decoded_data_is_not_decoded_again(tmp_path: Path) -> None:
    folder = tmp_path / "it"
    png_folder(folder, 4, 4)
    open_data(str(folder), seed=0)
    for file in folder.iterdir():  # same size and time, but no longer Parquet
        stat = file.stat()
        file.write_bytes(bytes(stat.st_size))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(open_data(str(folder), seed=0).test) == 5


@pytest.mark.parametrize("kind", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_files_hold_the_same(tmp_path: Path, kind: Any) -> None:
    """Of one size, decoded beforehand, and streamed; a file of Arrow's or a stream of it."""
    png_folder(tmp_path / "it", 6, 5, 3)
    (tmp_path / "as").mkdir()
    for split in ("train", "test"):
        table = pq.read_table(tmp_path / f"it/{split}.parquet")
        with kind(str(tmp_path / f"as/{split}.arrow"), table.schema) as file:
            file.write_table(table, max_chunksize=3)
    for limit in (1 << 20, 0):
        as_parquet, as_arrow = (
            open_data(str(tmp_path / name), seed=0, cache_limit_bytes=limit)
            for name in ("it", "as")
        )
        assert as_parquet.spec == as_arrow.spec
        assert len(as_parquet.train) == len(as_arrow.train)
        one, other = (sets.test.batch(ALL_TEST) for sets in (as_parquet, as_arrow))
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("missing", ["train.parquet", "test.parquet"])
def test_a_folder_without_both_files_is_refused(tmp_path: Path, missing: str) -> None:
    png_folder(tmp_path / "it", 4, 4)
    (tmp_path / "it" / missing).unlink()
    with pytest.raises(BadData, match=f"there is no {missing}"):
        open_data(str(tmp_path / "it"), seed=0)


@pytest.mark.parametrize(
    "columns",
    [
        {"image": [1], "label": [1]},
        {"image": [{"bytes": "text", "path": None}], "label": [1]},
        {"image": [{"path": "a.png"}], "label": [1]},
        {"image": [{"bytes": b"", "path": None}], "label": ["cat"]},
        {"img": [{"bytes": b"", "path": None}], "label": [1]},
    ],
)
def test_other_columns_are_refused_with_those_found(tmp_path: Path, columns: Any) -> None:
    png_folder(tmp_path / "it", 4, 4)
    pq.write_table(pa.table(columns), tmp_path / "it/train.parquet")
    with pytest.raises(BadData, match=r"its columns are im.*expected image: struct") as caught:
        open_data(str(tmp_path / "it"), seed=0)
    assert caught.value.value == str(tmp_path / "it/train.parquet")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ([], [], "it has no rows"),
        ([b"not an image"], [0], "row 0.*this is no image"),
        ([encode(random_pixels(1, 4, 4)[0])[:60]], [0], "row 0.*this is no image"),
        ([None], [0], "row 0.*a path instead"),
        ([encode(np.zeros((4, 4), np.uint16))], [0], "row 0.*8 bits"),
        ([encode(np.zeros((4, 4), np.uint8))], [-1], "missing or negative"),
        ([encode(np.zeros((4, 4), np.uint8))], [None], "missing or negative"),
    ],
)
def test_rows_that_cannot_be_read_are_refused(
    tmp_path: Path, images: list[bytes | None], labels: list[int | None], message: str
) -> None:
    png_folder(tmp_path / "it", 4, 4)
    write_file(tmp_path / "it/train.parquet", images, labels)
    with pytest.raises(BadData, match=message):
        open_data(str(tmp_path / "it"), seed=0)


def test_a_label_beyond_the_class_names_is_refused(tmp_path: Path) -> None:
    png_folder(tmp_path / "it", 4, 4)
    images = [encode(p) for p in random_pixels(3, 4, 4)]
    write_file(tmp_path / "it/train.parquet", images, [0, 1, 2], names=["a", "b"])
    with pytest.raises(BadData, match="label 2 stands beyond the 2 class names"):
        open_data(str(tmp_path / "it"), seed=0)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    png_folder(tmp_path / "it", 4, 4)
    (tmp_path / "it/test.parquet").write_text("hello")
    with pytest.raises(BadData, match="it cannot be read"):
        open_data(str(tmp_path / "it"), seed=0)


def test_a_training_set_of_one_image_is_refused(tmp_path: Path) -> None:
    png_folder(tmp_path / "it", 4, 4, count=1)
    with pytest.raises(BadData, match="1 training and 5 test samples"):
        open_data(str(tmp_path / "it"), seed=0)


def test_images_smaller_than_the_models_crop_are_refused(tmp_path: Path) -> None:
    png_folder(tmp_path / "it", 8, 8)
    with pytest.raises(BadData, match="8 x 8, smaller than the 28 x 28 crop"):
        open_data(str(tmp_path / "it"), seed=0, crop=28)
