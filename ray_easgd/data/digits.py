"""scikit-learn's digits: 1,797 grey images of 8 x 8, no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ray_easgd.data import cache
from ray_easgd.data.images import open_images, save_facts, save_images
from ray_easgd.data.rows import Sources


def open_digits(crop: int | None) -> Sources:
    """The digits, one in five of each class in the test set."""
    return open_images("digits", cache.entry("digits", _build), crop)


def _build(folder: Path) -> None:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = np.rint(bunch.images[:, None] * (255 / 16)).astype(np.uint8)  # sklearn's run 0 to 16
    labels = bunch.target.astype(np.int64)
    # The split is the same for every run's seed, so that test accuracies can be compared.
    shuffled = np.random.default_rng(0).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    test = np.sort(by_class[::5])
    train = np.setdiff1d(by_class, test)
    for split, rows in {"train": train, "test": test}.items():
        save_images(folder, split, images[rows].shape, [images[rows]], labels[rows])
    save_facts(folder, num_classes=10)
