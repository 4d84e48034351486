"""What an exchange is measured against, in the same run: one memcpy, and one all-reduce."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ray_easgd.errors import EasgdError

_WARM_UP = 3
_REPEATS = 21
_PATIENCE_S = 300.0


def memcpy_s(n: int) -> float:
    """The median time of one copy of 4n bytes, in memory that was touched before."""
    source, target = np.ones(n, np.float32), np.ones(n, np.float32)
    times = []
    for _ in range(_WARM_UP + _REPEATS):
        began = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - began)
    return statistics.median(times[_WARM_UP:])


def allreduce_s(world: int, sizes: Sequence[int], *, repeats: int = _REPEATS) -> dict[int, float]:
    """The median time of a gloo all-reduce among ``world`` processes, for each n.

    Plain processes on the loopback device, one torch thread each.
    """
    program = [sys.executable, "-P", str(Path(__file__).with_name("allreduce.py"))]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    with TemporaryDirectory(prefix="easgd-allreduce-") as folder:
        words = [str(world), f"{folder}/store", str(repeats), *map(str, sizes)]
        members = [
            subprocess.Popen(
                [*program, str(rank), *words],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(world)
        ]
        try:
            return _medians(members)
        finally:
            for member in members:
                member.kill()
                member.communicate()


def _medians(members: Sequence[subprocess.Popen[str]]) -> dict[int, float]:
    try:
        said = [member.communicate(timeout=_PATIENCE_S) for member in members]
    except subprocess.TimeoutExpired as error:
        raise EasgdError(
            f"the all-reduce to compare with took over {_PATIENCE_S:g} s. Take a smaller --n."
        ) from error
    for member, (_, complaint) in zip(members, said, strict=True):
        if member.returncode:
            raise EasgdError(f"the all-reduce to compare with failed:\n{complaint[-2000:]}")
    return {int(n): s for n, s in json.loads(said[0][0].splitlines()[-1]).items()}
