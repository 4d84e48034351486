"""The driver's side of the evaluator: when to test the center, and what to do if that fails.

A failing evaluator costs the run its tests, never its training: it is reported and left alone. One
whose process or node went, or that is stopped, is replaced, and asked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ActorDiedError, ObjectLostError, RayActorError, RayError, RayTaskError

from actors.asking import SILENCE_S, Pulse
from actors.evaluator import Evaluation, start_evaluator
from actors.lifecycle import end_process
from ray_easgd.config import Config
from ray_easgd.task import Task

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorProxy

    from actors.centers import Tell
    from actors.evaluator import Evaluator
    from actors.hub_slice import Published

Judgement = tuple[Evaluation, dict[str, Any]]

_LOOK_EVERY_S = 0.5
_MOST_DEATHS = 3
"""In a row: more is no misfortune, but memory that is too small, for one."""


class Judge:
    """Tests the center now and then, at most a share of the time, and once in the end."""

    def __init__(
        self,
        run: str,
        task: Task,
        config: Config,
        centers: Callable[[], tuple[Any, ...]],
        *,
        on_evaluation: Callable[[Evaluation], None],
        tell: Tell,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._silence_s = silence_s
        self._arrived: ObjectRef[None] | None = None
        self._pulse: Pulse | None = None
        self._section, self._centers = config.evaluation, centers
        self._fetching: list[ObjectRef[Published]] = []
        self._asked: tuple[Any, ...] = ()
        self._on_evaluation, self._tell = on_evaluation, tell
        self._start = partial(start_evaluator, run, task, config)
        self._life = 0
        self._handle: ActorProxy[Evaluator] | None = None
        self._under_way: ObjectRef[Judgement] | None = None
        self._after = float("inf")
        self._failed = False
        self._deaths = 0  # in a row, without a test in between

    def look(self) -> None:
        """Take in a test that is done, begin one that is due. Never waits."""
        if self._failed:
            return
        evaluator = self._evaluator()
        if self._under_way is not None:
            if self._is_tested(within_s=0):
                self._take()
            return
        now = time.monotonic()
        self._after = min(self._after, now + self._section.interval_s)
        if now >= self._after and not self._fetching:
            self._asked = self._centers()
            self._fetching = [center.pull_judged.remote() for center in self._asked]
        if (
            self._fetching
            and not ray.wait(self._fetching, num_returns=len(self._fetching), timeout=0)[1]
        ):
            fetched, self._fetching = self._fetching, []
            with suppress(RayError):  # the center was lost: its successor will be asked
                self._under_way = evaluator.evaluate.remote(ray.get(fetched), self._asked)

    def last(self, center: Published) -> dict[str, Any]:
        """Test this snapshot and wait; returns what a checkpoint needs beside the vector."""
        if self._under_way is not None:
            self._await_test()
        beside = None
        while beside is None and not self._failed:
            self._under_way = self._evaluator().evaluate.remote([center], ())
            beside = self._await_test()
        return beside or {}

    def end(self) -> None:
        """End the evaluator's process."""
        if self._handle is not None:
            end_process(self._handle)

    def _evaluator(self) -> ActorProxy[Evaluator]:
        """Started once there is something to test: its imports would hold up the first step."""
        if self._handle is None:
            self._life += 1
            self._handle = self._start(life=self._life)
            self._arrived, self._pulse = self._handle.ping.remote(), None
        return self._handle

    def _await_test(self) -> dict[str, Any] | None:
        while not self._is_tested(within_s=_LOOK_EVERY_S):
            pass
        return self._take()

    def _is_tested(self, *, within_s: float) -> bool:
        """Whether the test under way has come to something; one that is stopped comes to its end.

        A process that is still starting, or waits for room, owes no answer yet.
        """
        if ray.wait([self._under_way], timeout=within_s)[0]:
            return True
        if self._pulse is None:
            if ray.wait([self._arrived], timeout=0)[0]:
                self._pulse = Pulse(self._evaluator().ping.remote)
        elif self._pulse.silent_s() >= self._silence_s:
            self._tell(
                "evaluator_silent",
                f"the evaluator has not answered for {self._silence_s:.0f} s: its process is "
                "stopped, or its machine. Another one takes over; training goes on.",
                source="evaluator",
            )
            self._pulse = None
            self.end()
        return False

    def _take(self) -> dict[str, Any] | None:
        """What came of the test under way; None where it has to be made again."""
        reference, self._under_way = self._under_way, None
        assert reference is not None
        try:
            judgement: Judgement = ray.get(reference)
        except RayTaskError as error:
            # else the center was lost in between
            if not isinstance(error.cause, (ObjectLostError, RayActorError)):
                self._give_up(error)
            return {}
        except ActorDiedError as error:
            self._handle, self._deaths = None, self._deaths + 1
            if self._deaths >= _MOST_DEATHS:
                self._give_up(error)
            return None
        except RayError:  # for the moment it cannot be reached
            return None
        self._deaths = 0
        evaluation, beside = judgement
        rest = evaluation.took_s * (1 / self._section.share - 1)
        self._after = time.monotonic() + max(self._section.interval_s, rest)
        self._on_evaluation(evaluation)
        return beside

    def _give_up(self, error: RayError) -> None:
        self._failed = True
        self._tell(
            "evaluator_failed",
            f"the center can no longer be tested; training goes on. {str(error).strip()}",
            source="evaluator",
        )
