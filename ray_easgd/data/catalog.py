"""From the name a user types to the data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray_easgd import environment
from ray_easgd.data.digits import open_digits
from ray_easgd.data.folder import open_folder
from ray_easgd.data.named import name_of, suggest, suggest_function
from ray_easgd.data.remote import fetched
from ray_easgd.data.rows import Sources
from ray_easgd.data.sets import DataSets
from ray_easgd.data.tables import ENDINGS
from ray_easgd.data.text import open_text
from ray_easgd.data.torchvision_sets import PREFIX, open_torchvision
from ray_easgd.data.user import open_user
from ray_easgd.errors import BadData

CACHE_LIMIT_BYTES = 4 << 30
"""Images that take more than that when decoded are read from their file each time."""

_TEXT_FILE = "input.txt"


def open_data(
    data: str | Callable[[], Any],
    *,
    seed: int,
    crop: int | None = None,
    cache_limit_bytes: int = CACHE_LIMIT_BYTES,
) -> DataSets:
    """Open a data set and hold out a tenth of its training set by ``seed``.

    ``data`` is a name, or a function as ``module:function`` would name it. ``crop`` is the side in
    pixels of the square images that the model takes; None takes them as they are. What the user's
    own function returns is never cropped.
    """
    if isinstance(data, str):
        found, name = _open(data, crop, cache_limit_bytes), data
    else:
        found, name = open_user(data), name_of(data)
    return found if isinstance(found, DataSets) else found.split(name, seed)


def _open(name: str, crop: int | None, cache_limit_bytes: int) -> Sources | DataSets:
    if name == "digits":
        return open_digits(crop)
    if name.startswith(PREFIX):
        return open_torchvision(name, crop)
    is_uri = "://" in name
    if ":" in name and not is_uri:
        return open_user(name)
    folder = fetched(name) if is_uri else _folder(name)
    text = folder / _TEXT_FILE
    if text.is_file():
        return open_text(name, text)
    return open_folder(name, folder, crop, cache_limit_bytes)


def _folder(name: str) -> Path:
    """``$RAY_EASGD_DATA/NAME`` if it is there, else the folder that ``name`` is a path of."""
    root = environment.data_root()
    for folder in ([root / name] if root else []) + [Path(name)]:
        if name and folder.is_dir():
            return folder
    where = f"in {root}" if root else "because RAY_EASGD_DATA is not set"
    known = _known_names(root)
    near = suggest(name, known) + suggest_function(name, "load")
    remedy = f"{near}Known: {', '.join(known)}, a folder's path, module:function."
    raise BadData("data", name, f"there is no such data set {where}, nor such a folder", remedy)


def _known_names(root: Path | None) -> list[str]:
    folders = sorted(root.iterdir()) if root and root.is_dir() else []
    markers = (_TEXT_FILE, *(f"train.{ending}" for ending in ENDINGS))
    here = [folder.name for folder in folders if any((folder / m).is_file() for m in markers)]
    return ["digits", *here, f"{PREFIX}NAME"]
