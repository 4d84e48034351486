"""Measurements; what ``ray job submit -- python -m jobs.benchmark exchange`` runs."""

from __future__ import annotations

import sys

from ray_easgd.cli import main

if __name__ == "__main__":
    main(["benchmark", *sys.argv[1:]])
