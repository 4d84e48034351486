"""What a worker leaves to who comes in its place, when its machine gives notice. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Belongings:
    """``owner`` left its vector, shape (n,), after its last exchange; its local step's state and
    the state of torch's generator, as ``torch.save`` writes them."""

    owner: str
    vector: np.ndarray
    step: bytes
    random: bytes
