"""What every actor process that computes does first."""

from __future__ import annotations

import warnings

import ray
import torch


def settle_in() -> None:
    """One intra-op thread: on a shared machine more of them stall each other.

    Vectors out of the object store are read-only, which torch cannot express and warns about; we
    never write to one.
    """
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


def choose_device() -> tuple[torch.device, str]:
    """The GPU Ray gave this process, else the CPU; and a word where that surprises."""
    ids = ray.get_gpu_ids()
    if not ids:
        return torch.device("cpu"), ""
    if torch.cuda.is_available():
        return torch.device("cuda", 0), f"uses GPU {', '.join(map(str, ids))}"
    return torch.device("cpu"), (
        f"was given GPU {', '.join(map(str, ids))}, but CUDA is absent here: it uses the CPU"
    )
