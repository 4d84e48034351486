"""What every actor process that computes does first."""

from __future__ import annotations

import ctypes
import warnings
from importlib import import_module
from threading import Thread

import ray
import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST_BLOCK = 32 << 20  # bytes; more than that it refuses
_MOST_KEPT = 512 << 20


def settle_in() -> None:
    """One intra-op thread: on a shared machine more of them stall each other.

    Vectors out of the object store are read-only, which torch cannot express and warns about; we
    never write to one.
    """
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    _keep_memory()


def load_loops() -> None:
    """Load the compiled loops of exchanges in memory, two seconds, before the first child asks.

    Not in a worker: what its loop imports must not meet an import half done.
    """
    Thread(target=import_module, args=("ray_easgd.shared.hall",), daemon=True).start()


def _keep_memory() -> None:
    """Let freed memory stay in the process, up to half a GiB.

    Each gradient step frees its activations, and by default glibc returns them to the system, to
    get the same pages anew, zeroed, in the next one (docs/benchmarks.md, scene a).
    """
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        libc.mallopt(_TRIM_THRESHOLD, _MOST_KEPT)
    except (OSError, AttributeError):
        return  # another C library


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
