"""The real data sets, where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ray_easgd.data import open_data

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        ("fashion_mnist", (1, 28, 28), (54_000, 6_000, 10_000)),
        ("mnist", (1, 28, 28), (54_000, 6_000, 10_000)),
        ("cifar10", (3, 32, 32), (45_000, 5_000, 10_000)),
        ("tinyshakespeare", (64,), (14_117, 1_568, 1_742)),
    ],
)
def test_a_real_data_set_opens_whole(
    real_data: Path, name: str, shape: tuple[int, ...], counts: tuple[int, int, int]
) -> None:
    sets = open_data(name, seed=0)
    assert sets.spec.input_shape == shape
    assert sets.spec.num_classes == (65 if name == "tinyshakespeare" else 10)
    assert (len(sets.train), len(sets.validation), len(sets.test)) == counts


def test_cifars_classes_and_pixels_are_as_published(real_data: Path) -> None:
    sets = open_data("cifar10", seed=0)
    inputs, targets = sets.test.batch(np.arange(10_000))
    assert np.bincount(targets).tolist() == [1000] * 10
    assert inputs.mean().abs() < 0.05
    assert abs(inputs.std() - 1) < 0.05
