"""``torchvision:NAME``: a data set that torchvision downloads, kept decoded like any other."""

from __future__ import annotations

import inspect
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ray_easgd.data import cache
from ray_easgd.data.decode import Mode, mode_of, pixels_of
from ray_easgd.data.images import Labels, Pixels, open_images, save_facts, save_images
from ray_easgd.data.named import suggest
from ray_easgd.data.rows import Sources
from ray_easgd.errors import BadData

PREFIX = "torchvision:"


def open_torchvision(name: str, crop: int | None) -> Sources:
    """Download and decode on the first use; later uses import no torchvision."""
    if not name.removeprefix(PREFIX).isidentifier():  # it names a folder below
        raise BadData("data", name, "this is no class of torchvision", "Write torchvision:MNIST.")
    folder = cache.entry(name.replace(":", "-"), partial(_build, name))
    return open_images(name, folder, crop)


def _build(name: str, folder: Path) -> None:
    dataset_class = _dataset_class(name)
    downloads = folder / "downloads"  # of this process alone, so racing downloads do not mix
    class_counts = []
    for split in ("train", "test"):
        dataset = download(name, dataset_class, downloads, split)
        class_counts.append(_save(name, folder, split, dataset))
    shutil.rmtree(downloads, ignore_errors=True)
    save_facts(folder, max(class_counts))


def _dataset_class(name: str) -> Any:
    from torchvision import datasets

    short = name.removeprefix(PREFIX)
    if short not in datasets.__all__:
        near = suggest(short, datasets.__all__)
        remedy = f"{near}Names are those of torchvision.datasets, such as MNIST or CIFAR10."
        raise BadData("data", name, f"torchvision has no data set {short}", remedy)
    return getattr(datasets, short)


def download(name: str, dataset_class: Any, root: Path, split: str) -> Any:
    """One split of a torchvision class, by its ``train`` or ``split`` argument."""
    accepted = inspect.signature(dataset_class).parameters
    which = {"train": split == "train"} if "train" in accepted else {"split": split}
    if "download" not in accepted or not which.keys() <= accepted.keys():
        problem = "torchvision cannot download it as a training and a test set"
        raise BadData("data", name, problem, "Give module:function that returns (train, test).")
    try:
        return dataset_class(root, download=True, **which)
    except (OSError, RuntimeError) as error:
        problem = f"the download failed ({error})"
        remedy = "Check the network, or put NAME/{train,test}.parquet under RAY_EASGD_DATA."
        raise BadData("data", name, problem, remedy) from error
    except ValueError as error:  # some sets have no split "test"
        remedy = "Give module:function that returns (train, test)."
        raise BadData("data", name, f"it has no split {split} ({error})", remedy) from error


def _save(name: str, folder: Path, split: str, dataset: Any) -> int:
    """Write the (image, label) pairs of a split; returns the number of its classes."""
    images, labels = arrays(name, dataset)
    save_images(folder, split, images.shape, [images], labels)
    return int(labels.max()) + 1


def arrays(name: str, dataset: Any) -> tuple[Pixels, Labels]:
    """Images ``(n, C, H, W)`` and labels ``(n,)`` of a map-style set of Pillow images."""
    samples = [dataset[i] for i in range(len(dataset))]
    remedy = "Give module:function that returns (train, test) with transforms of your own."
    if not all(isinstance(label, int) for _, label in samples):
        raise BadData("data", name, "its targets are not class numbers", remedy)
    modes = {mode_of(image, name) for image, _ in samples}
    if len({image.size for image, _ in samples}) > 1:
        raise BadData("data", name, "its images are not all of one size", remedy)
    mode: Mode = "RGB" if "RGB" in modes else "L"
    images = np.stack([pixels_of(image, mode) for image, _ in samples])
    return images, np.array([label for _, label in samples], dtype=np.int64)
