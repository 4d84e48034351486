"""How many bytes of the cluster's object store are in use. Ray has no public word for it."""

from __future__ import annotations

import time

import ray
from ray._private import internal_api, state

_READINGS = 6
_APART_S = 0.1


def bytes_in_use() -> int:
    """What stays in use: the least of several readings, since freeing runs in the background."""
    assert ray.is_initialized()
    readings = []
    for _ in range(_READINGS):
        reply = internal_api.get_memory_info_reply(state.state)
        readings.append(int(reply.store_stats.object_store_bytes_used))
        time.sleep(_APART_S)
    return min(readings)
