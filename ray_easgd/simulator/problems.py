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

    def value(self, x: Tensor) -> dict[str, float]:
        """How good ``x`` is, by name."""
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
    dtype: torch.dtype = torch.float32

    @property
    def curvature(self) -> float:
        """``h``."""
        return self.h

    def start(self) -> Tensor:
        return torch.full((self.size,), self.x0, dtype=self.dtype)

    def gradient(self, x: Tensor, noise: torch.Generator) -> Tensor:
        if not self.sigma:
            return self.h * x
        return self.h * x - self.sigma * torch.randn(x.shape, generator=noise, dtype=x.dtype)

    def value(self, x: Tensor) -> dict[str, float]:
        return _second_moment(x, self.h)


@dataclass(frozen=True)
class Spectrum:
    """``F(x) = sum h_k x_k^2 / 2`` without noise: one coordinate for each curvature ``h_k``."""

    curvatures: tuple[float, ...]

    def start(self) -> Tensor:
        return torch.ones(len(self.curvatures), dtype=torch.float64)

    def gradient(self, x: Tensor, noise: torch.Generator) -> Tensor:
        return torch.tensor(self.curvatures, dtype=x.dtype) * x

    def value(self, x: Tensor) -> dict[str, float]:
        return {"loss": float((torch.tensor(self.curvatures) * x.square()).sum()) / 2.0}


@dataclass(frozen=True, kw_only=True)
class GammaQuadratic:
    """Gradient ``xi x`` with ``xi ~ Gamma(shape lam, rate om)`` (mathematics.md, 3.5).

    A small ``lam`` at the same mean is a large spread.
    """

    lam: float = 0.5
    om: float = 0.5
    x0: float = 1.0
    size: int = 1

    @property
    def curvature(self) -> float:
        """The mean of the noise, ``lambda / omega``."""
        return self.lam / self.om

    def start(self) -> Tensor:
        return torch.full((self.size,), self.x0)

    def gradient(self, x: Tensor, noise: torch.Generator) -> Tensor:
        shape = torch.full(x.shape, self.lam)
        xi = torch._standard_gamma(shape, generator=noise)  # noqa: SLF001  the seeded sampler
        return xi / self.om * x

    def value(self, x: Tensor) -> dict[str, float]:
        return _second_moment(x, self.curvature)


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

    def value(self, x: Tensor) -> dict[str, float]:
        loss = float((1.0 - x[0].square()).square() / 4.0)
        if self.saddle:
            loss += float(x[1].square() / 2.0)
        return {"loss": loss, "x": float(x[0])}


def _second_moment(x: Tensor, curvature: float) -> dict[str, float]:
    """Mean over the coordinates, which are repetitions of one dimension."""
    moment = float(x.double().square().mean())
    return {"loss": curvature * moment / 2.0, "second_moment": moment}
