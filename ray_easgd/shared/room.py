"""How much memory there is room for: asked before any is touched, since too late means a kill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def room_bytes() -> int | None:
    """What this process may still allocate: the machine's and its container's. None: unknown."""
    rooms = [_memory().get("MemAvailable"), *_container_rooms()]
    return min((room for room in rooms if room is not None), default=None)


def huge_room_bytes() -> int:
    """What free huge pages of the default size hold, beyond those promised to others."""
    memory = _memory()
    free = memory.get("HugePages_Free", 0) - memory.get("HugePages_Rsvd", 0)
    return max(0, free) * huge_page_bytes()


def huge_page_bytes() -> int:
    """The default size of a huge page; 2 MiB where the system does not say."""
    return _memory().get("Hugepagesize", 1 << 21)


def _memory() -> dict[str, int]:
    """/proc/meminfo: sizes in bytes, and counts of pages."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return {}
    fields = ((name, rest.split()) for name, _, rest in (line.partition(":") for line in lines))
    return {name: int(value[0]) << (10 if "kB" in value else 0) for name, value in fields}


def _container_rooms() -> Iterator[int]:
    """Limit minus use of each memory cgroup around this process, counting cached files as free."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield from _rooms_above(_CGROUPS, path, "memory.max", "memory.current")
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
                yield from _rooms_above(_CGROUPS / "memory", path, *names)


def _rooms_above(root: Path, path: str, limit: str, used: str) -> Iterator[int]:
    """The rooms of a cgroup and those around it; in a container its own is the root it sees."""
    own = root / path.lstrip("/")
    for folder in {root, own, *(p for p in own.parents if root in p.parents)}:
        with suppress(OSError, ValueError):  # not there, or the limit is "max"
            most, now = (int((folder / name).read_text("ascii")) for name in (limit, used))
            yield max(0, most - now + _cached(folder))


def _cached(folder: Path) -> int:
    for line in (folder / "memory.stat").read_text("ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0
