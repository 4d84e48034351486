"""A program: CPUS LOGS. Ray on this machine, until its standard input ends.

It prints the address. Its worker processes come from the nursery that its environment names.
"""

from __future__ import annotations

import gc
import sys

import ray

from actors.embedded import start_ray
from actors.nursery import taken_from_it


def main() -> None:
    num_cpus, logs = sys.argv[1:]
    with taken_from_it():
        start_ray(int(num_cpus), keep_logs=logs == "logs")
    print(ray.get_runtime_context().gcs_address, flush=True)  # noqa: T201
    sys.stdin.read()
    ray.shutdown()
    gc.freeze()  # or the interpreter's last collection takes a quarter of a second


if __name__ == "__main__":
    main()
