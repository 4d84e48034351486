"""The thesis's figures again, each checked against the runtime's own algorithm objects.

    ray-easgd reproduce E2 --out figures

A figure is a closed form of ``ray_easgd.theory``, a simulated fleet of the methods as they are
registered, and the numbers of docs/mathematics.md; it *agrees* where they are the same. So a wrong
sign in an algorithm shows here. See docs/figures.md.
"""

from ray_easgd.figures import learning
from ray_easgd.figures.catalog import FIGURES, Figure
from ray_easgd.figures.outcome import Check, Found
from ray_easgd.figures.writing import reproduce

__all__ = ["FIGURES", "Check", "Figure", "Found", "learning", "reproduce"]
