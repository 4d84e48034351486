"""What a worker leaves to who comes in its place, when its machine gives notice. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Belongings:
    """``owner`` left its vector, shape (n,), after its last exchange; its local step's state and
    that of its generators (``random_state.py``), as ``torch.save`` writes them; and where it was in
    its learning rate's schedule."""

    owner: str
    vector: np.ndarray
    step: bytes
    random: bytes
    schedule_clock: int = 0

    @property
    def num_bytes(self) -> int:
        """What it takes to keep them."""
        return self.vector.nbytes + len(self.step) + len(self.random)
