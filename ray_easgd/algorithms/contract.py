"""What an algorithm is: three pure pieces that know nothing of processes or time.

- the *local step* (``steps.py``): what a worker does with a gradient;
- the *exchange*: what a child does to ``x`` and what it sends, given the center it pulled;
- the *center step*: what a hub does with what arrives.

Symbols: ``x`` a child's vector, ``c`` the pulled center, ``d`` what is sent; float tensors of
shape (n,). A trailing underscore means in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from torch import Tensor

State = dict[str, Tensor]
Pushes = Sequence[Tensor]
Average = Literal["none", "polyak", "moving"]


class Exchange(Protocol):
    """The child's side of an exchange."""

    @property
    def overwrites(self) -> bool:
        """Whether ``x`` is set from ``c`` rather than moved by ``-d``."""
        ...

    def begin(self, x: Tensor) -> State:
        """What the child remembers between exchanges, where ``x`` equals the center."""
        ...

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        """The ``d`` to send; a new tensor. Changes nothing."""
        ...

    def move_(self, x: Tensor, c: Tensor, d: Tensor, state: State, *, unseen: Pushes) -> None:
        """Apply the exchange to ``x``, with ``d`` as the hub will see it.

        ``unseen`` are this child's pushes, ``d`` included, that ``c`` does not show.
        """
        ...


class CenterStep(Protocol):
    """The hub's side of an exchange."""

    @property
    def additive(self) -> bool:
        """True when the step is ``c += d`` and nothing is remembered."""
        ...

    def begin(self, c: Tensor) -> State:
        """What the hub must remember beyond its vector (``hub_state``)."""
        ...

    def apply_(self, c: Tensor, d: Tensor, state: State) -> None:
        """Take one arriving ``d`` into the center."""
        ...

    def judged(self, c: Tensor, state: State) -> Tensor:
        """What is tested and kept in checkpoints: the center itself, or an average of it."""
        ...


@dataclass(frozen=True, slots=True)
class Add:
    """``c <- c + d``: the center step of EASGD, EAMSGD and DOWNPOUR."""

    additive: bool = field(default=True, init=False)

    def begin(self, c: Tensor) -> State:
        return {}

    def apply_(self, c: Tensor, d: Tensor, state: State) -> None:
        c.add_(d)

    def judged(self, c: Tensor, state: State) -> Tensor:
        return c


@dataclass(frozen=True, kw_only=True, slots=True)
class Algorithm:
    """A named recipe: pieces, what its exchanges conserve, and the defaults that suit it.

    ``average`` is the one the method is defined by, and ``center.average``'s default.
    ``conserves``: ``sum`` (x + c of the two ends is unchanged by an exchange), ``pushes`` (the
    center is its start plus each push, once), or ``none``.
    """

    name: str
    summary: str
    source: str
    exchange: Exchange
    center_step: CenterStep = field(default_factory=Add)
    average: Average = "none"
    local_step: Literal["sgd", "nesterov"]
    conserves: Literal["sum", "pushes", "none"]
    period: int
    lr: float
    momentum: float = 0.0
    sequential: bool = False
    fixed_local_step: bool = False

    def with_momentum(self, momentum: float) -> Algorithm:
        """The same with another momentum, in whichever piece has one."""
        step: Any = self.center_step
        if hasattr(step, "momentum"):
            step = replace(step, momentum=momentum)
        return replace(self, momentum=momentum, center_step=step)
