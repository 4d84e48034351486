"""What every actor process that computes does first."""

from __future__ import annotations

import warnings

import torch


def settle_in() -> None:
    """One intra-op thread: on a shared machine more of them stall each other.

    Vectors out of the object store are read-only, which torch cannot express and warns about; we
    never write to one.
    """
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
