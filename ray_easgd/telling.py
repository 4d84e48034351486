"""What a worker's tie tells of itself: losses, norms, and what went wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from ray_easgd.errors import Diverged
from ray_easgd.ports import Reporter

_MOST_RESTARTS = 10


class Telling:
    """The words between a tie and its reporter.

    ``conserves``: an exchange moves both ends by ``rate`` times their distance.
    """

    def __init__(self, reporter: Reporter, name: str, *, conserves: bool) -> None:
        self.reporter, self._name, self._conserves = reporter, name, conserves
        self._loss_sum, self._num_losses = 0.0, 0
        self._unread: list[Tensor] = []
        self._restarts_in_a_row = self._num_stale = 0

    def add_loss(self, loss: Tensor | float | None) -> None:
        """A GPU's is kept unread: a number that is looked at is a number waited for."""
        if loss is None:
            return
        self._num_losses += 1
        if not isinstance(loss, Tensor):
            self._loss_sum += loss
        elif loss.is_cuda:
            self._unread.append(loss.detach())
        else:
            self._loss_sum += loss.item()

    def take_loss(self) -> float | None:
        """The mean since the last time; None where there was none."""
        if not self._num_losses:
            return None
        if self._unread:
            self._loss_sum += float(torch.stack(self._unread).sum())
        mean = self._loss_sum / self._num_losses
        self._loss_sum, self._num_losses, self._unread = 0.0, 0, []
        return mean

    def exchanged(
        self,
        clock: int,
        loss: float | None,
        norm: float,
        rate: float,
        staleness: int | None = None,
    ) -> None:
        """An exchange went well: ``norm`` is that of its difference."""
        self._restarts_in_a_row = 0
        distance = norm / abs(rate) if self._conserves and rate else norm
        values = {"push_norm": norm, "distance": distance}
        if loss is not None:
            values["loss"] = loss
        if staleness is not None:
            values["staleness"] = float(staleness)
        self.reporter.metrics(values, step=clock)

    def stale(self, clock: int, staleness: int) -> None:
        """How many versions lay between a push's center and itself."""
        self.reporter.metrics({"staleness": float(staleness)}, step=clock)

    def too_stale(self, clock: int, staleness: int) -> None:
        """The hub would not have a difference from so old a center: it is taken back.

        Whoever is far away may meet that each time: told at the first, second, fourth, ...
        """
        self._num_stale += 1
        if self._num_stale & (self._num_stale - 1):
            return
        times = f" ({self._num_stale} times by now)" if self._num_stale > 1 else ""
        self.reporter.event(
            "too_stale",
            f"{self._name} at step {clock}: its push was computed from a center {staleness} "
            f"versions old; it takes it back, and pulls before it pushes again{times}",
            staleness=staleness,
        )

    def not_finite(self, clock: int, steps_lost: int) -> None:
        """Non-finite numbers made it start from the center; Diverged if they always do."""
        self._restarts_in_a_row += 1
        self.reporter.event(
            "not_finite",
            f"{self._name} met non-finite numbers at step {clock}; it starts again from the "
            f"center, its last {steps_lost} steps are dropped and its optimizer state is cleared",
            step=clock,
            steps_lost=steps_lost,
        )
        if self._restarts_in_a_row >= _MOST_RESTARTS:
            raise Diverged(self._name, self._restarts_in_a_row)

    def new_life(self, incarnation: int, lost_norm: float, *, is_known: bool) -> None:
        """The hub had taken it for dead, or is a successor that does not know it."""
        if is_known:
            story = f"was taken for dead and joins again as incarnation {incarnation}"
        else:
            story = f"lost its hub and goes on under another as incarnation {incarnation}"
        self.reporter.event(
            "new_life",
            f"{self._name} {story}; outstanding pushes of norm {lost_norm:.3g} are lost",
            lost_norm=lost_norm,
        )


def is_number(value: float | None) -> bool:
    """Whether it is finite; None is."""
    return value is None or abs(value) < float("inf")
