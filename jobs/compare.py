"""The peers, head to head: ``python -m jobs.compare --scene a --seeds 5 --json``."""

from __future__ import annotations

import sys

from ray_easgd.cli import main

if __name__ == "__main__":
    main(["benchmark", "peers", *sys.argv[1:]])
