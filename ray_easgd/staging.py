"""Between the device where ``x`` is and the memory that links speak of."""

from __future__ import annotations

import torch
from torch import Tensor


class OnCpu:
    """Nothing to do: ``x`` lies where the links are."""

    def bring(self, vector: Tensor) -> Tensor:
        """A snapshot's vector, where ``x`` is."""
        return vector

    def ready(self, there: Tensor) -> Tensor:
        """What ``bring`` gave, to be computed with from here on."""
        return there

    def fetch(self, d: Tensor) -> Tensor:
        """A difference, where the links are."""
        return d


class OnGpu:
    """Copies through pinned memory on a stream of their own, beside the gradients' kernels.

    A snapshot is on its way from the moment it arrives; a difference is waited for, since it has
    to be known finite before anybody sees it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._brought = self._stream.record_event()

    def bring(self, vector: Tensor) -> Tensor:
        pinned = torch.empty(vector.shape, dtype=vector.dtype, pin_memory=True).copy_(vector)
        with torch.cuda.stream(self._stream):
            there = pinned.to(self._device, non_blocking=True)
        self._brought = self._stream.record_event()
        return there

    def ready(self, there: Tensor) -> Tensor:
        main = torch.cuda.current_stream(self._device)
        main.wait_event(self._brought)
        there.record_stream(main)
        return there

    def fetch(self, d: Tensor) -> Tensor:
        here = torch.empty(d.shape, dtype=d.dtype, pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            here.copy_(d, non_blocking=True)
        d.record_stream(self._stream)
        self._stream.synchronize()
        return here


Staging = OnCpu | OnGpu


def staging_for(x: Tensor) -> Staging:
    """By the device of the parameter vector."""
    return OnGpu(x.device) if x.device.type == "cuda" else OnCpu()
