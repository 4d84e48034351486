"""Chaos; what ``ray job submit --working-dir . -- python -m jobs.chaos CONFIG`` runs."""

from __future__ import annotations

import sys

from ray_easgd.cli import main

if __name__ == "__main__":
    main(["chaos", *sys.argv[1:]])
