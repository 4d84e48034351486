"""How strongly the elastic force pulls, as a function of how many share a hub."""

from __future__ import annotations


def moving_rate(beta: float, children: int, *, has_parent: bool = False) -> float:
    """A hub's moving rate ``min(1/2, beta / (children + parent))``.

    ``beta / p`` for a flat center with p >= 2 workers (elastic symmetry, paper section 3), and
    ``beta / (d + 1)`` at an inner node of fan-out d. The cap keeps one worker stable; the center
    then moves at about half of SGD's pace. See docs/mathematics.md, 2.11.
    """
    return min(0.5, beta / max(1, children + has_parent))
