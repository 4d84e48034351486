"""A tie by one-way messages: what a child tells its hub and what it hears have clocks of their own.

Every ``period`` it sends its vector, every ``period_down`` it asks for its hub's, and moves toward
that when it is there. (The hub knows nobody's clock, so the child asks: a message that its hub
would send it by that clock.) A message under way is not overtaken: the next one leaves at the first
boundary after, and is newer.
"""

from __future__ import annotations

from ray_easgd.algorithms import Algorithm
from ray_easgd.apart import Difference
from ray_easgd.elastic import Elastic
from ray_easgd.protocol import PushReply


class OneWay(Elastic):
    """One child of a tree by messages; see ``algorithms/messages.py``."""

    @property
    def looks_at(self) -> int:
        return min(self._due, self._hears_at) if self.intake.idle else self._due

    def _join(self, *, stays: bool = False) -> None:
        super()._join(stays=stays)
        self._hears_at = self.options.hears_after(self.clock)

    def _ask_if_time(self) -> None:
        """Where both are due, it speaks first."""
        speaks = self.clock >= self._due and not self.link.busy
        if self.clock >= self._hears_at and not speaks:
            self._hears_at = self.options.hears_after(self.clock)
            self.intake.ask(self.clock)

    def _collect(self) -> bool:
        again = super()._collect()
        if self.intake.fresh is not None:
            self.intake.take_in(self.clock)
            self._move(self.intake.center)
        return again

    def _is_there(self) -> bool:
        """To send a message: nothing of its hub."""
        return True

    def _applied(self, reply: PushReply) -> None:
        """Nothing has to be sent twice: a newer message says more."""
        super()._applied(reply)
        self._child.retained.clear()

    def _follow(self, sent: Difference) -> None:
        """Sending moves nobody."""


def kind_of_tie(algorithm: Algorithm) -> type[Elastic]:
    """The tie that suits a method's exchange."""
    return OneWay if algorithm.exchange.one_way else Elastic
