"""A push counts once in every history of a hub, its children and the wire between them."""

from __future__ import annotations

from tests.histories import run
from tests.hub_histories import HubHistories


def test_a_push_counts_once_whatever_is_lost_doubled_or_late() -> None:
    run(HubHistories, examples=80, steps=40)
