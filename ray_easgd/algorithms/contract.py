"""What an algorithm is: three pure pieces that know nothing of processes or time.

- the *local step* (``steps.py``): what a worker does with a gradient;
- the *exchange*: what a child does to ``x`` and what it sends, given a center;
- the *center step*: what a hub does with what arrives.

Symbols: ``x`` a child's vector, ``c`` the center, ``d`` what is sent; float tensors of shape
(n,). A trailing underscore means in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

State = dict[str, Tensor]
Pushes = Sequence[Tensor]
Average = Literal["none", "polyak", "moving"]
Order = Literal["between_steps", "at_snapshot"]
Rounds = Literal["none", "together", "in_turn"]


class Exchange:
    """The child's side of an exchange. Immutable; what it remembers is a ``State``.

    ``elastic``: the moving rate ties ``x`` to ``c``. ``overwrites``: ``x`` is set from ``c``
    rather than moved by a displacement. ``answered``: ``d`` is sent first, and ``x`` moves by the
    center that *shows* it; otherwise both ends move at once by one ``d``, computed from the center
    pulled before. ``one_way``: to send and to move are two things. ``fused``: the compiled pass of
    ``shared/passes.py`` that is this whole exchange in shared memory, if there is one.
    """

    elastic: ClassVar[bool] = False
    overwrites: ClassVar[bool] = False
    answered: ClassVar[bool] = False
    one_way: ClassVar[bool] = False
    fused: ClassVar[str] = ""

    @property
    def fused_pass(self) -> str:
        """``fused``, where this very class says so: one derived from it may compute otherwise."""
        return str(vars(type(self)).get("fused", ""))

    def begin(self, x: Tensor) -> State:
        """What the child remembers between exchanges, where ``x`` equals the center."""
        return {}

    def difference(self, x: Tensor, c: Tensor, state: State, *, moving_rate: float) -> Tensor:
        """The ``d`` to send; a new tensor. May note something in ``state``; leaves ``x`` alone."""
        raise NotImplementedError

    def displacement(
        self, x: Tensor, c: Tensor, d: Tensor, state: State, *, moving_rate: float
    ) -> Tensor | None:
        """What ``x`` loses: ``x <- x - displacement``; None where it stays as it is.

        ``d`` is as the hub will see it. ``c`` is the center that ``d`` was computed from, or where
        ``answered`` one that shows it.
        """
        return d

    def take_over_(self, x: Tensor, c: Tensor, state: State, *, unseen: Pushes) -> None:
        """Where it ``overwrites``: set ``x`` from ``c``.

        ``unseen`` are this child's pushes, the present one included, that ``c`` does not show.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """What a center step may know of what arrives.

    ``child``: whose it is (0 for the sum of a round); ``pushes``: how many are summed in it;
    ``children``: how many share the hub, at which ``moving_rate``; ``staleness``: versions since
    what it was computed from.
    """

    child: int = 0
    pushes: int = 1
    children: int = 1
    staleness: int = 0
    moving_rate: float = 0.0


class CenterStep:
    """The hub's side of an exchange. Immutable; what it remembers is a ``State``.

    ``takes_differences`` is False where a ``d`` stands for a whole vector instead.
    """

    takes_differences: ClassVar[bool] = True

    @property
    def additive(self) -> bool:
        """Whether the center moves by ``c <- c + d``: then children may do it with their own hands.

        What the step remembers follows by ``saw_``.
        """
        return False

    def begin(self, c: Tensor) -> State:
        """What the hub must remember beyond its vector (``hub_state``)."""
        return {}

    def admit_(self, c: Tensor, state: State, child: int) -> None:
        """A child joins, its ``x`` equal to ``c``."""

    def dismiss_(self, c: Tensor, state: State, child: int, *, lost: bool) -> None:
        """A child is gone: it said goodbye, or was lost."""

    def apply_(self, c: Tensor, d: Tensor, state: State, arrival: Arrival) -> None:
        """Take one arriving ``d`` into the center; in a round, the sum of its pushes."""
        raise NotImplementedError

    def saw_(self, c: Tensor, state: State, pushes: int) -> None:
        """Where ``additive``: ``c`` holds so many pushes more than when it was last looked at."""

    def looks_after(self, state: State) -> int | None:
        """How many of those there may be until it looks; None: it never does."""
        return None

    def judged(self, c: Tensor, state: State) -> Tensor:
        """What is tested and kept in checkpoints: the center itself, or an average of it."""
        return c


@dataclass(frozen=True, slots=True)
class Add(CenterStep):
    """``c <- c + d``: the center step of EASGD, EAMSGD and DOWNPOUR."""

    @property
    def additive(self) -> bool:
        return True

    def apply_(self, c: Tensor, d: Tensor, state: State, arrival: Arrival) -> None:
        c.add_(d)


@dataclass(frozen=True, kw_only=True, slots=True)
class Algorithm:
    """A named recipe: pieces, what its exchanges conserve, and the defaults that suit it.

    ``average`` is the one the method is defined by, and ``center.average``'s default.
    ``conserves``: ``sum`` (x + c of the two ends is unchanged by an exchange), ``pushes`` (the
    center is its start plus each push, once), or ``none``. ``rounds``: ``none`` (nobody waits),
    ``together`` (the center moves once all children have pushed, and they wait for it) or
    ``in_turn`` (one child after the other). ``order`` is the default of ``algorithm.order``; a
    method with ``fixed_order`` is defined by it.
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
    beta: float = 0.9
    sequential: bool = False
    fixed_local_step: bool = False
    rounds: Rounds = "none"
    order: Order = "between_steps"
    fixed_order: bool = False

    @property
    def waits(self) -> str:
        """Whom a worker waits for, as a phrase for people."""
        phrases = {
            "none": "nobody",
            "together": "every worker, at each exchange",
            "in_turn": "every worker before it, at each exchange",
        }
        return phrases[self.rounds]

    @property
    def in_place(self) -> bool:
        """Whether workers may exchange in the hub's own memory: nobody waits, nothing is kept."""
        free = self.rounds == "none" and self.center_step.additive
        return free and self.exchange.fused_pass != ""

    @property
    def moves_house(self) -> bool:
        """Whether another process may go on with a worker's vector: its hub has no copy of it."""
        return self.rounds == "none" and self.exchange.elastic

    def settings(self) -> set[str]:
        """The names that ``having`` takes, besides ``momentum`` of a local step."""
        return {f.name for piece in (self.exchange, self.center_step) for f in _fields(piece)}

    def having(self, **values: Any) -> Algorithm:
        """The same with other settings, in whichever of its pieces has a field of that name.

        KeyError for a name that none of them has.
        """
        changed = self
        for name, value in values.items():
            if name == "momentum" and self.momentum:
                changed = replace(changed, momentum=value)
            elif name not in self.settings():
                raise KeyError(name)
            changed = replace(
                changed,
                exchange=_with(changed.exchange, name, value),
                center_step=_with(changed.center_step, name, value),
            )
        return changed


def _fields(piece: Any) -> tuple[Any, ...]:
    return fields(piece) if hasattr(piece, "__dataclass_fields__") else ()


def _with(piece: Any, name: str, value: Any) -> Any:
    has = any(f.name == name for f in _fields(piece))
    return replace(piece, **{name: value}) if has else piece
