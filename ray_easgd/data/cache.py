"""Folders of prepared data under ``RAY_EASGD_CACHE``, each written once and then only read."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from ray_easgd import environment
from ray_easgd.errors import BadData

FORMAT = 1
"""Raise it when what an entry holds changes, and every old entry is ignored."""
PATIENCE_S = 600.0
"""How long another process may take to fill an entry until a copy of one's own is made."""
SILENCE_S = 10.0
"""How long it may show no sign of life: it is stopped, then."""
_BEAT_S = 1.0
_LEFT_S = 86_400.0


def fingerprint(paths: Iterable[Path]) -> str:
    """A key of these files as they are now: their paths, sizes and times of last change."""
    stats = [(str(path.resolve()), path.stat()) for path in paths]
    return digest([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats])


def digest(facts: object) -> str:
    """A key of what its ``repr`` says."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def entry(key: str, build: Callable[[Path], None]) -> Path:
    """The folder of ``key``, filled by ``build(folder)`` if nobody has done so yet.

    It is filled under another name and renamed, so a reader sees all of it or nothing. One process
    of a machine fills it, and the others wait for that while it shows signs of life, or
    ``PATIENCE_S``.
    """
    final = environment.cache_root() / f"{key}-v{FORMAT}"
    if final.is_dir():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _alone(final.with_name(f".{key}.lock")):
            _fill(final, key, build)
    except OSError as error:
        remedy = "Set RAY_EASGD_CACHE to a folder that can be written and has room."
        raise BadData("RAY_EASGD_CACHE", str(final.parent), str(error), remedy) from error
    return final


def newest(pattern: str) -> Path | None:
    """The entry that was made last, of those whose key the pattern matches."""
    found = environment.cache_root().glob(f"{pattern}-v{FORMAT}")
    return max(found, key=lambda folder: folder.stat().st_mtime, default=None)


def _fill(final: Path, key: str, build: Callable[[Path], None]) -> None:
    if final.is_dir():
        return  # by who was here first
    _sweep(final.parent)
    aside = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=final.parent))
    try:
        build(aside)
        _publish(aside, final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what a process that was killed while it filled an entry has left, a day ago or more.

    Younger ones may be somebody's work, here or on another machine that shares the cache.
    """
    for left in root.glob(".*-*/"):
        with suppress(OSError):  # another sweeps too
            if time.time() - left.stat().st_mtime > _LEFT_S:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Nobody else at a time, if all goes well. The system lets go of it where its holder is killed.

    Who waits in vain, because the holder hangs or is stopped, goes on as if it were alone: then two
    copies are made, and the first to be whole is taken.
    """
    with lock.open("a") as file:
        waiting = Thread(target=_hold, args=(file.fileno(),), daemon=True)
        waiting.start()
        until = time.monotonic() + PATIENCE_S
        waiting.join(min(_BEAT_S, PATIENCE_S))  # who has just begun gives its first sign by then
        while waiting.is_alive() and time.monotonic() < until and _is_alive(lock):
            waiting.join(_BEAT_S)
        with _signs_of_life(lock):
            yield


def _hold(lock: int) -> None:
    with suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_EX)


def _is_alive(lock: Path) -> bool:
    return time.time() - lock.stat().st_mtime < SILENCE_S


@contextmanager
def _signs_of_life(lock: Path) -> Iterator[None]:
    """A new time of last change every second, which a process that is stopped cannot give."""
    is_done = Event()

    def beat() -> None:
        while True:
            with suppress(OSError):
                os.utime(lock)
            if is_done.wait(_BEAT_S):
                return

    Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        is_done.set()


def _publish(aside: Path, final: Path) -> None:
    aside.chmod(0o755)  # mkdtemp makes it private; other users of a shared cache may read it
    try:
        aside.rename(final)
    except OSError:
        if not final.is_dir():  # renaming onto a folder that is there fails: somebody was faster
            raise
