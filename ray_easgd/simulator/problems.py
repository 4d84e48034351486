"""Problems whose gradients are known: what a simulated worker descends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Problem(Protocol):
    """A function to minimize, seen through noisy gradients."""

    def start(self) -> Tensor:
        """The initial vector, shape (n,)."""
        ...

    def gradient(self, x: Tensor, noise: torch.Generator) -> Tensor:
        """One noisy gradient at ``x``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Quadratic:
    """``F(x) = h x^2 / 2``, gradient ``h x - xi``, ``Var xi = sigma^2`` (mathematics.md, 3.1).

    ``size`` independent coordinates are as many repetitions of the one-dimensional problem.
    """

    h: float = 1.0
    sigma: float = 1.0
    x0: float = 1.0
    size: int = 1

    def start(self) -> Tensor:
        return torch.full((self.size,), self.x0)

    def gradient(self, x: Tensor, noise: torch.Generator) -> Tensor:
        if not self.sigma:
            return self.h * x
        return self.h * x - self.sigma * torch.randn(x.shape, generator=noise)


@dataclass(frozen=True, kw_only=True)
class GammaQuadratic:
    """Gradient ``xi x`` with ``xi ~ Gamma(shape lam, rate om)`` (mathematics.md, 3.5).

    A small ``lam`` at the same mean is a large spread.
    """

    lam: float = 0.5
    om: float = 0.5
    x0: float = 1.0
    size: int = 1

    def start(self) -> Tensor:
        return torch.full((self.size,), self.x0)

    def gradient(self, x: Tensor, noise: torch.Generator) -> Tensor:
        shape = torch.full(x.shape, self.lam)
        xi = torch._standard_gamma(shape, generator=noise)  # noqa: SLF001  the seeded sampler
        return xi / self.om * x


@dataclass(frozen=True, kw_only=True)
class DoubleWell:
    """``F(x) = (1 - x^2)^2 / 4``: minima at -1 and 1 (mathematics.md, 3.6).

    With ``saddle`` a second coordinate adds ``|z|^2 / 2``, so that the trapped center at the
    origin is a true saddle. ``x0`` is the center's start.
    """

    sigma: float = 0.0
    x0: float = 0.01
    saddle: bool = False

    def start(self) -> Tensor:
        return torch.tensor([self.x0, self.x0] if self.saddle else [self.x0])

    def gradient(self, x: Tensor, noise: torch.Generator) -> Tensor:
        gradient = x * (x.square() - 1.0)
        if self.saddle:
            gradient[1] = x[1]
        if self.sigma:
            gradient += self.sigma * torch.randn(x.shape, generator=noise)
        return gradient
