"""What a run looks like in others' monitoring: a board for Grafana, alert rules for Prometheus.

``board.json`` is written by ``ray_easgd.dashboard.board``; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path

BOARD = Path(__file__).with_name("board.json")
ALERTS = Path(__file__).with_name("alerts.yml")
