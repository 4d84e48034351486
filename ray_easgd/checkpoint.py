"""Checkpoints: the center's vector as named tensors, in files without pickle.

    checkpoints/N/center.safetensors   one tensor a parameter, and whatever else was given
    checkpoints/N/state.safetensors    what only a resumed run needs, where there is such a thing
    checkpoints/N/manifest.json        the layout, the caller's words, each file's size and SHA-256

The manifest is written last: a folder without one is not a checkpoint, so a writer that dies
half-way leaves nothing that could be taken for one. Tensors come back bit for bit, NaNs included.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ray_easgd import strict_json
from ray_easgd.errors import BadStorage
from ray_easgd.storage import Place, place_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ray_easgd.run_folder import RunFolder

    _Layout = Sequence[Mapping[str, Any]]  # as a manifest holds it

FOLDER, MANIFEST = "checkpoints", "manifest.json"
CENTER, STATE = "center.safetensors", "state.safetensors"


class Slot(Protocol):
    """Where one tensor lies in the vector: elements ``offset <= k < offset + size``."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def offset(self) -> int: ...
    @property
    def size(self) -> int: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """What ``write_checkpoint`` was given."""

    manifest: dict[str, Any]  # the caller's, and ``number``, ``layout``, ``files``
    tensors: dict[str, NDArray[Any]]  # every tensor by name, the extra ones included
    vector: NDArray[np.float32]  # (n,)
    state: dict[str, NDArray[Any]]


def write_checkpoint(
    folder: RunFolder,
    number: int,
    *,
    vector: NDArray[np.float32],
    layout: Sequence[Slot],
    manifest: Mapping[str, object],
    extra: Mapping[str, NDArray[Any]] | None = None,
    state: Mapping[str, NDArray[Any]] | None = None,
    before_manifest: Callable[[], None] = lambda: None,
) -> str:
    """Write checkpoint ``number`` of a run and return its path.

    ``vector``, float32 of shape (n,), is cut into tensors by ``layout``, whose slots cover it
    without gap or overlap. ``extra`` holds tensors outside it: buffers, frozen parameters;
    ``state`` what a model has no use for. ``before_manifest`` may raise: then it is none.
    """
    from safetensors.numpy import save

    files = {CENTER: save(_cut(vector, layout) | _fresh(extra or {}, layout))}
    if state:
        files[STATE] = save({name: _contiguous(tensor) for name, tensor in state.items()})
    place = folder.place.child(FOLDER).child(str(number))
    place.delete(MANIFEST)  # a rollback may reach this number again: not half old, half new
    for name, data in files.items():
        place.write(name, data)
    fingerprints = {name: _fingerprint(data) for name, data in files.items()}
    before_manifest()
    own = {"number": number, "layout": _described(layout), "files": fingerprints}
    place.write(MANIFEST, strict_json.dumps({**manifest, **own}, indent=2).encode())
    return place.shown


def read_checkpoint(path: str) -> Checkpoint:
    """Read the checkpoint at a path or URI.

    Raises BadStorage, naming the file, when one is missing, cut short or altered.
    """
    from safetensors.numpy import load

    place = place_at(path)
    manifest = _read_manifest(place)
    files = {name: _read_whole(place, name, is_) for name, is_ in manifest["files"].items()}
    layout = manifest["layout"]
    tensors = _in_order(load(files[CENTER]), layout)
    return Checkpoint(
        manifest=manifest,
        tensors=tensors,
        vector=_join(tensors, layout),
        state=load(files[STATE]) if STATE in files else {},
    )


def latest_checkpoint(folder: RunFolder) -> str | None:
    """The path of a run's newest whole checkpoint, or None."""
    return next((place.shown for _, place in _written(folder)), None)


def newest_number(folder: RunFolder) -> int:
    """Of a run's checkpoints; -1 where there is none."""
    return next((number for number, _ in _written(folder)), -1)


def newest_whole(folder: RunFolder, tell: Callable[[str], None]) -> tuple[str, Checkpoint] | None:
    """The newest checkpoint that can be read, and its path; ``tell`` of each that cannot.

    One that cannot is no checkpoint any more, so that the next of its number finds its place free.
    """
    for _, place in _written(folder):
        try:
            return place.shown, read_checkpoint(place.shown)
        except BadStorage as error:
            tell(f"{error.value}: {error.problem}; the checkpoint before it is used.")
            place.delete(MANIFEST)
    return None


def keep_newest(folder: RunFolder, number: int, *, best: bool = False) -> None:
    """Delete all checkpoints but so many; with ``best`` also the best stays, however old it is.

    The best is by ``val_accuracy``, where manifests say it.
    """
    written = dict(_written(folder))
    accuracies: dict[int, float | None] = dict.fromkeys(written)
    if best and len(written) > number:
        accuracies = {k: _val_accuracy(place) for k, place in written.items()}
    for dropped in written.keys() - to_keep(accuracies, number):
        _delete(written[dropped])
    _sweep(folder, below=max(written, default=0))


def keep_best(folder: RunFolder) -> str | None:
    """Delete all checkpoints but the best, by ``val_accuracy``; its path.

    Without any that says it, all of them: nobody knows from where on they are bad.
    """
    written = dict(_written(folder))
    best = to_keep({k: _val_accuracy(place) for k, place in written.items()}, 0)
    for dropped in written.keys() - best:
        _delete(written[dropped])
    _sweep(folder, below=max(written, default=0))
    return next((written[k].shown for k in best), None)


def best_checkpoint(folder: RunFolder) -> str | None:
    """The path of the best by ``val_accuracy``; None where none says it, or nobody answers."""
    with suppress(OSError):
        written = dict(_written(folder))
        best = to_keep({k: _val_accuracy(place) for k, place in written.items()}, 0)
        return next((written[k].shown for k in best), None)
    return None


def to_keep(accuracies: Mapping[int, float | None], number: int) -> set[int]:
    """Of checkpoints by number, the newest so many and the best; the newer one of equals.

    One whose accuracy is None or not a number is the best of nothing.
    """
    newest = sorted(accuracies, reverse=True)[:number]
    known = [(a, k) for k, a in accuracies.items() if a is not None and not math.isnan(a)]
    return {*newest, *(k for _, k in sorted(known)[-1:])}


def _delete(place: Place) -> None:
    place.delete(MANIFEST)  # first: from here on it is none
    _remove(place)


def _sweep(folder: RunFolder, *, below: int) -> None:
    """What writers that died have left: numbers without a manifest, older than a checkpoint."""
    place = folder.place.child(FOLDER)
    whole = {number for number, _ in _written(folder)}
    for number in set(_numbers(place)) - whole:
        if number < below:
            _remove(place.child(str(number)))


def _remove(place: Place) -> None:
    with suppress(OSError):  # somebody reads it: it goes with a later one
        place.delete_all()


def _numbers(place: Place) -> list[int]:
    return sorted((int(name) for name in place.names("") if name.isdecimal()), reverse=True)


def _written(folder: RunFolder) -> Iterator[tuple[int, Place]]:
    """Those with a manifest, newest first."""
    place = folder.place.child(FOLDER)
    for number in _numbers(place):
        if place.exists(f"{number}/{MANIFEST}"):
            yield number, place.child(str(number))


def _val_accuracy(place: Place) -> float | None:
    try:
        said = _read_manifest(place).get("val_accuracy")
    except BadStorage:  # torn; whoever resumes is told
        return None
    return float(said) if isinstance(said, int | float) else None


def _cut(vector: NDArray[np.float32], layout: Sequence[Slot]) -> dict[str, NDArray[Any]]:
    _check_cover(vector, layout)
    return {s.name: vector[s.offset : s.offset + s.size].reshape(s.shape) for s in layout}


def _check_cover(vector: NDArray[np.float32], layout: Sequence[Slot]) -> None:
    assert vector.ndim == 1, vector.shape
    assert vector.dtype == "float32", vector.dtype
    end = 0
    for slot in sorted(layout, key=lambda s: (s.offset, s.size)):
        assert slot.offset == end, f"{slot.name} begins at {slot.offset}, not {end}"
        end += slot.size
    assert end == vector.size, f"the layout covers {end} of {vector.size} elements"


def _fresh(extra: Mapping[str, NDArray[Any]], layout: Sequence[Slot]) -> dict[str, NDArray[Any]]:
    """The extra tensors, contiguous as safetensors needs them, under names of their own."""
    clash = extra.keys() & {slot.name for slot in layout}
    assert not clash, f"extra tensors named as parameters: {sorted(clash)}"
    return {name: _contiguous(tensor) for name, tensor in extra.items()}


def _contiguous(tensor: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    return np.asarray(tensor, order="C")


def _described(layout: Sequence[Slot]) -> list[dict[str, object]]:
    return [
        {"name": s.name, "shape": list(s.shape), "offset": s.offset, "size": s.size} for s in layout
    ]


def _in_order(tensors: Mapping[str, NDArray[Any]], layout: _Layout) -> dict[str, NDArray[Any]]:
    """Parameters as in the vector, then the extra ones; safetensors gives them in any order."""
    parameters = [slot["name"] for slot in layout]
    return {name: tensors[name] for name in (*parameters, *sorted(tensors.keys() - parameters))}


def _join(tensors: Mapping[str, NDArray[Any]], layout: _Layout) -> NDArray[np.float32]:
    import numpy as np

    vector = np.empty(sum(slot["size"] for slot in layout), dtype=np.float32)
    for slot in layout:
        vector[slot["offset"] : slot["offset"] + slot["size"]] = tensors[slot["name"]].reshape(-1)
    return vector


def _fingerprint(data: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _read_manifest(place: Place) -> dict[str, Any]:
    try:
        return strict_json.loads(place.read(MANIFEST).decode())
    except FileNotFoundError as error:
        raise _torn(place, MANIFEST, "missing, so this is not a checkpoint") from error
    except ValueError as error:
        raise _torn(place, MANIFEST, f"not whole: {error}") from error


def _read_whole(place: Place, name: str, expected: Mapping[str, object]) -> bytes:
    try:
        data = place.read(name)
    except FileNotFoundError as error:
        raise _torn(place, name, "missing") from error
    if len(data) != expected["size"]:
        raise _torn(place, name, f"{len(data)} bytes long instead of {expected['size']}")
    if _fingerprint(data) != expected:
        raise _torn(place, name, "altered: its SHA-256 is not the manifest's")
    return data


def _torn(place: Place, name: str, problem: str) -> BadStorage:
    remedy = f"Delete {place.shown}; the checkpoint before it is used then"
    return BadStorage("checkpoint", place.child(name).shown, problem, remedy)
