"""How fast a fleet moves by its learning rate, where gradients agree."""

from __future__ import annotations

from collections.abc import Sequence

from ray_easgd.algorithms import Algorithm
from ray_easgd.sections import LevelSection
from ray_easgd.topology import tree_of


def pace(algorithm: Algorithm, workers: int, levels: Sequence[LevelSection] = ()) -> float | None:
    """Of the center, over that of one process at the same learning rate; None of other methods.

    On a slope that all see alike, all that are tied drift at one pace in the end. Exchanges that
    conserve ``x + c`` leave the sum over p workers and m hubs as it is, so that the steps of p
    move p + m: ``p / (p + m)``. Where pushes are conserved each is added whole: ``p``.
    """
    if algorithm.conserves == "pushes" and not algorithm.exchange.elastic:
        return float(workers)
    if algorithm.conserves != "sum":
        return None
    return workers / (workers + len(tree_of(levels, workers)))
