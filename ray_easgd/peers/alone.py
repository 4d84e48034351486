"""Plain PyTorch, talking to nobody. A program: ORDER_FILE RANK.

One process of it is what a user has without any of this; two at once are the no-exchange pair, the
most that this machine gives two workers.
"""

from __future__ import annotations

from ray_easgd.peers.loop import Tie, arguments, run

if __name__ == "__main__":
    run(*arguments(), Tie)
