"""Between the device where ``x`` is and the memory that links speak of."""

from __future__ import annotations

import torch
from torch import Tensor

from ray_easgd.wire import Parcel


class OnCpu:
    """Nothing to do: ``x`` lies where the links are."""

    def room(self, n: int) -> Tensor:
        """Memory for a vector of shape (n,) that is to be brought."""
        return torch.empty(n)

    def bring(self, vector: Tensor) -> Tensor:
        """A snapshot's vector, where ``x`` is."""
        return vector

    def ready(self, there: Tensor) -> Tensor:
        """What ``bring`` gave, to be computed with from here on."""
        return there

    def wait(self) -> None:
        """Until what is brought is there."""


class OnGpu:
    """Copies through pinned memory on a stream of their own, beside the gradients' kernels."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._brought = self._stream.record_event()

    def room(self, n: int) -> Tensor:
        return torch.empty(n, pin_memory=True)

    def bring(self, vector: Tensor) -> Tensor:
        """On its way when this returns; what is there already is left there."""
        if vector.is_cuda:
            return vector
        if not vector.is_pinned():
            vector = self.room(vector.numel()).copy_(vector)
        with torch.cuda.stream(self._stream):
            there = vector.to(self._device, non_blocking=True)
        self._brought = self._stream.record_event()
        return there

    def ready(self, there: Tensor) -> Tensor:
        main = torch.cuda.current_stream(self._device)
        main.wait_event(self._brought)
        there.record_stream(main)
        return there

    def wait(self) -> None:
        self._stream.synchronize()

    def ship(self, d: Tensor) -> Parcel:
        """A difference, on its way to the links."""
        here = self.room(d.numel())
        landing = torch.cuda.Event(blocking=True)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            here.copy_(d, non_blocking=True)
            landing.record()
        d.record_stream(self._stream)
        return Parcel(here, landing)


Staging = OnCpu | OnGpu


def staging_for(device: torch.device) -> Staging:
    """By the device of the parameter vector."""
    return OnGpu(device) if device.type == "cuda" else OnCpu()
