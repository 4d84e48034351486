"""Checkpoints come back bit for bit, or say which file is not whole."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ray_easgd.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint
from ray_easgd.errors import BadStorage
from ray_easgd.run_folder import RunFolder

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Slot:
    name: str
    shape: tuple[int, ...]
    offset: int
    size: int


def lay_out(shapes: list[tuple[int, ...]]) -> list[Slot]:
    slots: list[Slot] = []
    for i, shape in enumerate(shapes):
        offset = slots[-1].offset + slots[-1].size if slots else 0
        slots.append(Slot(f"layer.{i}", shape, offset, math.prod(shape)))
    return slots


LAYOUT = lay_out([(3, 4), (4,), (), (2, 1, 2)])
VECTOR: Vector = np.arange(21, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(str(tmp_path), "run")


def write(folder: RunFolder, number: int = 7, vector: Vector = VECTOR) -> Path:
    words = {"samples": 640, "version": [0, 12]}
    path = write_checkpoint(folder, number, vector=vector, layout=LAYOUT, manifest=words)
    return Path(path)


def remote_folder() -> RunFolder:
    return RunFolder.create(f"fsspec+memory:///{uuid.uuid4().hex}", "run")


def test_a_checkpoint_holds_what_was_given(folder: RunFolder) -> None:
    path = write(folder)
    assert path == Path(folder.path) / "checkpoints" / "7"
    found = read_checkpoint(str(path))
    assert found.manifest["samples"] == 640
    assert found.manifest["number"] == 7
    assert list(found.tensors) == [slot.name for slot in LAYOUT]
    np.testing.assert_array_equal(found.tensors["layer.0"], VECTOR[:12].reshape(3, 4))
    assert found.tensors["layer.2"].shape == ()
    np.testing.assert_array_equal(found.vector, VECTOR)


@given(shapes=st.lists(st.lists(st.integers(0, 4), max_size=4).map(tuple)), data=st.data())
def test_every_bit_returns(shapes: list[tuple[int, ...]], data: st.DataObject) -> None:
    layout = lay_out(shapes)
    num_bytes = 4 * sum(slot.size for slot in layout)
    bits = data.draw(st.binary(min_size=num_bytes, max_size=num_bytes))  # NaNs of all kinds too
    vector = np.frombuffer(bits, dtype=np.float32)
    folder = remote_folder()
    path = write_checkpoint(folder, 0, vector=vector, layout=layout, manifest={})
    found = read_checkpoint(path)
    assert found.vector.tobytes() == bits
    for slot in layout:
        part = bits[4 * slot.offset : 4 * (slot.offset + slot.size)]
        assert found.tensors[slot.name].tobytes() == part
        assert found.tensors[slot.name].shape == slot.shape


def test_extra_tensors_of_any_kind_lie_beside_the_parameters(folder: RunFolder) -> None:
    extra = {
        "bn.running_mean": np.linspace(0, 1, 6, dtype=np.float64).reshape(2, 3).T,
        "bn.num_batches_tracked": np.array(12, dtype=np.int64),
        "mask": np.array([True, False]),
    }
    path = write_checkpoint(folder, 1, vector=VECTOR, layout=LAYOUT, manifest={}, extra=extra)
    found = read_checkpoint(path)
    np.testing.assert_array_equal(found.vector, VECTOR)
    for name, tensor in extra.items():
        np.testing.assert_array_equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].shape == tensor.shape


def test_remote_storage_holds_checkpoints_too() -> None:
    folder = remote_folder()
    path = write_checkpoint(folder, 3, vector=VECTOR, layout=LAYOUT, manifest={})
    assert latest_checkpoint(folder) == path
    np.testing.assert_array_equal(read_checkpoint(path).vector, VECTOR)


def test_the_latest_is_the_highest_number_that_is_whole(folder: RunFolder) -> None:
    assert latest_checkpoint(folder) is None
    paths = [write(folder, number) for number in (9, 10, 11)]
    (paths[2] / "manifest.json").unlink()
    (paths[0].parent / "notes").mkdir()
    assert latest_checkpoint(folder) == str(paths[1])


def test_a_number_can_be_written_again(folder: RunFolder) -> None:
    write(folder)
    path = write(folder, vector=-VECTOR)
    np.testing.assert_array_equal(read_checkpoint(str(path)).vector, -VECTOR)


def test_a_writer_that_died_left_no_checkpoint(folder: RunFolder) -> None:
    path = write(folder)
    (path / "manifest.json").unlink()
    with pytest.raises(BadStorage, match=r"manifest\.json.*missing"):
        read_checkpoint(str(path))


def cut(file: Path, keep: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data))])


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["manifest.json", "center.safetensors"])
def test_a_file_cut_short_is_named(folder: RunFolder, name: str, keep: float) -> None:
    path = write(folder)
    cut(path / name, keep)
    with pytest.raises(BadStorage) as torn:
        read_checkpoint(str(path))
    assert torn.value.value == str(path / name)
    assert f"Delete {path}" in torn.value.remedy


@pytest.mark.parametrize(("damage", "problem"), [(flip_a_bit, "SHA-256"), (Path.unlink, "missing")])
def test_a_damaged_center_is_named(
    folder: RunFolder, damage: Callable[[Path], None], problem: str
) -> None:
    path = write(folder)
    damage(path / "center.safetensors")
    with pytest.raises(BadStorage, match=rf"center\.safetensors.*{problem}"):
        read_checkpoint(str(path))


def test_the_manifest_says_what_each_file_must_be(folder: RunFolder) -> None:
    path = write(folder)
    manifest = json.loads((path / "manifest.json").read_text())
    size = (path / "center.safetensors").stat().st_size
    assert manifest["files"]["center.safetensors"]["size"] == size
    assert manifest["layout"][0] == {"name": "layer.0", "shape": [3, 4], "offset": 0, "size": 12}


def test_a_layout_that_does_not_cover_the_vector_is_our_own_mistake(folder: RunFolder) -> None:
    with pytest.raises(AssertionError, match="covers 19 of 21"):
        write_checkpoint(folder, 0, vector=VECTOR, layout=lay_out([(3, 4), (7,)]), manifest={})
