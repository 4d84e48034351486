"""The paper's figures 2, 3, 8 and 9 on real networks and real data, in virtual time.

    ray-easgd reproduce learning --out figures

Fleets of the runtime's own objects train on the simulator's clock; see docs/figures.md.
"""

from ray_easgd.figures.learning.size import SIZES, Size
from ray_easgd.figures.learning.study import STUDIES, learn

__all__ = ["SIZES", "STUDIES", "Size", "learn"]
