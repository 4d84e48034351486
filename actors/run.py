"""One run as the driver sees it: starts the actors, watches them, writes the folder, ends them."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from actors.asking import SILENCE_S, answer_of
from actors.center import num_waiting
from actors.chronicle import Chronicle
from actors.cluster import gpus_per_worker, num_spares, num_wanted
from actors.controller import start_controller
from actors.draining import DrainWatch
from actors.evaluator import Evaluation
from actors.fleet import Fleet
from actors.hub_status import joined
from actors.hubs import Hubs
from actors.judge import Judge
from actors.keeper import Cut, Keeper, cut, cut_in_haste
from actors.lifecycle import end_process, one_of_a_name
from actors.metrics import RunMetrics
from actors.reminder import RESTARTED, ControllerWatch, remind
from actors.seating import Seating
from actors.sight import Sight
from actors.training_clock import TrainingClock
from actors.words import Note
from actors.worker import Program
from ray_easgd.algorithms import Algorithm
from ray_easgd.config import Config
from ray_easgd.display import Display, Progress
from ray_easgd.errors import EasgdError, FolderLost, HubLost, Superseded
from ray_easgd.resumption import Resumption
from ray_easgd.run_folder import RunFolder
from ray_easgd.sections import StopSection
from ray_easgd.topology import hurried
from ray_easgd.trace import TraceFile

if TYPE_CHECKING:
    from ray import ObjectRef

_STARTING = "starting workers"
_TICK_S = 0.5
_GRACE_S = 10.0
_WRITE_EVERY_S = 5.0
_SPARES_AFTER_S = 10.0  # imports take a core for seconds: not from the first steps of all


class Run:
    """One run: ``start``, ``supervise``, ``test``, ``save``, and ``end`` whatever happens."""

    def __init__(
        self,
        program: Program,
        config: Config,
        algorithm: Algorithm,
        *,
        folder: RunFolder,
        display: Display,
        began_at: float,
        num_workers: int,
        trace: TraceFile | None = None,
        resumed: Resumption | None = None,
    ) -> None:
        self.program, self.config, self.algorithm = program, config, algorithm
        self.folder, self.display, self.began_at = folder, display, began_at
        self.sight, self.resumed = Sight(behind=resumed.schedule_clock if resumed else 0), resumed
        self._clock = TrainingClock(self.sight, resumed.trained_s if resumed else 0.0)
        self._num_workers, self._trace = num_workers, trace
        self._metrics = RunMetrics(folder.name, config, resumed)
        self._beside: dict[str, Any] = {}
        self._phase = _STARTING
        self._observing: list[ObjectRef[Any]] | None = None
        self.trained_s, self._write_after = 0.0, time.monotonic()
        self._is_still = self._has_answered = False
        self._cut: Cut | None = None
        self.ledger_error: float | None = None
        self.chronicle = Chronicle(folder, display, began_at - folder.reached_s)
        self._keeper = Keeper(
            folder,
            config,
            algorithm.name,
            tell=self.chronicle.tell,
            trained_s=lambda: self._clock.reported_s,
            tested=lambda: self.sight.tested,
            schedule_clock=lambda: self.sight.schedule_clock,
        )
        self._draining = DrainWatch(self.chronicle.tell)
        self._start_actors()  # it refuses a run that is going on, and leaves its folder alone
        self._keeper.begin()
        self.seating = Seating(
            program,
            config,
            algorithm,
            hubs=self.hubs,
            controller=self.controller,
            sight=self.sight,
            chronicle=self.chronicle,
            born=resumed.born if resumed else 0,
            trace=trace,
        )
        self.fleet = Fleet(
            config=config,
            program=program,
            num_gpus=gpus_per_worker(config),
            wanted=num_wanted(config, num_workers),
            make_seat=self.seating.seat,
            events=self.seating,
        )

    # -- life ------------------------------------------------------------------------------

    def _start_actors(self) -> None:
        self.hubs = Hubs(
            run=self.folder.name,
            config=self.config,
            algorithm=self.algorithm,
            num_workers=self._num_workers,
            tell=self.chronicle.tell,
            children_of=lambda hub: self.fleet.under(hub, self.sight.workers),
            kept=self._keeper.newest,
            traced=self._trace is not None,
        )
        with one_of_a_name(self.folder.name):  # a center that was replaced has another
            self.controller = start_controller(
                self.folder.name,
                self.hubs.centers,
                total_samples=self.config.stop.samples,
                bounded=self.config.stop != StopSection(),
                num_hubs=self.hubs.num_leaves,
                room=self.hubs.room,
                num_waiting=num_waiting(self.hubs.most_edges),
                progress=self.resumed.progress if self.resumed else None,
                folder=self.folder.path,
            )
        self._controller_watch = ControllerWatch(self.controller, self.chronicle.tell)
        self.hubs.start(self.controller, self.resumed)
        self._judge = None
        if self.program.task is not None:
            self._judge = Judge(
                self.folder.name,
                self.program.task,
                self.config,
                lambda: self.hubs.centers,
                on_evaluation=self._note_evaluation,
                tell=self.chronicle.tell,
            )

    def start(self) -> None:
        """Seat the fleet. Nobody waits for the slowest to arrive."""
        self.display.update(self._progress())
        self.fleet.reconcile((), self.sight.steps_of)
        self.chronicle.tell("started", f"{self.fleet.wanted} workers, {self.algorithm.name}")
        if self.resumed is not None:
            before = self.resumed
            self.chronicle.tell("resumed", f"goes on from {before.path}: {before.summary}")
        if warning := hurried(self.config.topology.levels):
            self.chronicle.tell("warning", warning)

    def supervise(self) -> None:
        """Watch until the run is over by its own rule; errors of workers and center surface."""
        while not self._over():
            self._settle_ended()
            self._look(wait=False)
            self._see_to_the_fleet()
            if self._judge is not None and self.sight.hub and self.sight.hub.version.count:
                self._judge.look()
            if self.has_center and self.hubs.root.are_there:
                self._keeper.look(self.hubs.centers)
        self._wind_down()
        self.fleet.kill()
        self._is_still = True
        self._look()
        self.trained_s = self._clock.reported_s
        if self.has_center:  # at once: nobody is left who could bring it back
            self._cut = cut(self.hubs.centers)

    def test(self) -> None:
        """The last test, of the center as it is in the end."""
        self._phase = "testing the center"
        self.display.update(self._progress())
        if self._judge is not None and self._cut is not None:
            self._beside = self._judge.last(self._cut.published)
        self.display.update(self._progress())

    def save(self) -> str | None:
        """A last checkpoint's path, None where there is no center. Superseded, FolderLost."""
        self._keeper.check()
        is_sound = self._cut is not None
        self._cut = self._cut or cut_in_haste(
            self._hear_in_haste,
            lambda: self.hubs.centers if self.has_center else (),
            self.chronicle.tell,
        )
        if self._cut is None:
            return None
        try:
            path = self._keeper.last(self._cut, self._beside, is_sound=is_sound)
        except OSError as error:
            raise FolderLost(self.folder.path, str(error)) from error
        self._end_records()
        return path

    def _hear_in_haste(self) -> bool:
        """Whether center and controller have answered once more; who is stopped has its time."""
        self._has_answered, until = False, time.monotonic() + SILENCE_S + _GRACE_S
        while not self._has_answered and time.monotonic() < until:
            try:
                self._hear(until)
            except (HubLost, Superseded):
                raise
            except EasgdError:
                continue  # of a worker, or its loss: there is one already
        return self._has_answered

    def _end_records(self) -> None:
        """Trace and ledger, where they are kept and nobody moves the center any more."""
        try:
            if self._trace is not None:
                self.hubs.end_traces(self._trace)
            if self.config.exchange.ledger and self._is_still:
                self.ledger_error = self.hubs.ledger_error()
        except (EasgdError, RayError, OSError) as error:
            self.chronicle.tell("warning", f"trace or ledger ended early: {error}")

    @property
    def has_center(self) -> bool:
        """Whether a worker has brought the vector that the center starts from."""
        return self.sight.hub is not None and self.sight.hub.num_parameters > 0

    def end(self) -> None:
        """End every actor of this run. Safe to call at any moment, and twice."""
        self.trained_s = self.trained_s or self._clock.reported_s
        self.fleet.kill()
        self.hubs.end()
        end_process(self.controller)
        if self._judge is not None:
            self._judge.end()

    # -- watching --------------------------------------------------------------------------

    def _over(self) -> bool:
        """Whether the run has reached what ends it."""
        stop, sight = self.config.stop, self.sight
        if self.fleet.is_over or self._all_seen or sight.book.stopped or self._is_left_alone:
            return True
        if stop.seconds is not None and self._clock.seen_s >= stop.seconds:
            return True
        return stop.accuracy is not None and (sight.val_accuracy or 0.0) >= stop.accuracy

    @property
    def _all_seen(self) -> bool:
        """Whether the center has all samples the run was asked for."""
        return self.config.stop.samples is not None and self.sight.book.done

    @property
    def _is_left_alone(self) -> bool:
        """Whether loops have ended, all data was trained on, and nobody who is left answers.

        Somebody is stopped then; who only takes long over what a loop does in the end does answer.
        """
        book = self.sight.book
        is_trained = book.done or not book.opened
        return self.fleet.some_are_done and is_trained and self.fleet.nobody_answers(SILENCE_S)

    def _settle_ended(self) -> None:
        """Wait a tick for calls of workers to end, and for what happens to hubs."""
        self.hubs.end_the_silent()
        self._controller_watch.look()
        running, watched = self.fleet.running, self.hubs.watched
        for reference in ray.wait([*running, *watched], timeout=_TICK_S)[0]:
            if reference in watched:
                self.hubs.settle(watched[reference])
                continue
            status = self.fleet.settle(running[reference], self.sight.steps_of)
            if status is not None:
                self.sight.final[status.name, status.life] = status

    def _see_to_the_fleet(self) -> None:
        """Who is missing, who is too many, and who sits on a machine that is about to go."""
        if self._clock.this_sitting_s > _SPARES_AFTER_S:
            come_later = self.fleet.num_gpus and self.fleet.waits_for_room
            self.fleet.spares = 0 if come_later else num_spares(self.config)
            if self.fleet.spares:
                self.hubs.root.stand_by()
        wanted = self.sight.book.wanted
        if wanted is not None and wanted != self.fleet.wanted:
            self.chronicle.tell("scaled", f"{wanted} workers are wanted, not {self.fleet.wanted}")
            self.fleet.wanted = wanted
        self.fleet.reconcile(self._draining.look(), self.sight.steps_of)

    def _wind_down(self) -> None:
        """Let workers finish with a last exchange. One that does not answer is not waited for.

        Where all samples have been seen they are not interrupted: their data ends by itself, and
        what a loop does after it still counts.
        """
        self.fleet.wind_down(interrupt=not self._all_seen)
        until = time.monotonic() + _GRACE_S
        while self.fleet.running and time.monotonic() < until:
            self._settle_ended()
            self._look(wait=False)
        for seat, _ in self.fleet.at_work:
            self.seating.left_behind(seat, _GRACE_S)
        self._hear()

    def _hear(self, until: float = math.inf) -> None:
        """Take in what is under way, which nobody would tell again, and how things are now."""
        for _ in range(2):
            self._has_answered = False
            self._look(wait=False)
            while not self._has_answered and time.monotonic() < until:
                self._settle_ended()  # a successor is on its way, with what workers hold
                self._look(wait=False)

    def _look(self, *, wait: bool = True) -> None:
        """Fetch what hub and controller know; record and show it.

        Without ``wait`` an answer still under way is left for the next look: a center that is
        stopped, rather than dead, does not stop the driver, and one that died has a successor soon.
        """
        self.hubs.look()
        self.sight.hubs = self.hubs.statuses
        if self._observing is None and (wait or self.hubs.root.are_there):
            hubs = [center.status.remote() for center in self.hubs.centers]
            self._observing = [*hubs, self.controller.observe.remote(*hubs)]
        asked = self._observing or ()
        if asked and (wait or not ray.wait(asked, num_returns=len(asked), timeout=_TICK_S / 10)[1]):
            self._observing = None
            try:
                self._take_in(asked)
            except HubLost:
                if wait:
                    raise
        self.display.update(self._progress())
        self._metrics.push(self.sight, self.fleet)

    def _take_in(self, asked: list[ObjectRef[Any]]) -> None:
        statuses = [answer_of(hub) for hub in asked[:-1]]
        self.sight.hub = joined(statuses)
        self.hubs.root.saw(statuses)
        self.seating.end_ghosts(self.fleet.names_there)
        if why := self.sight.why_messages():
            self.chronicle.tell("messages", why)
        book, notes, noted = answer_of(asked[-1])
        self._controller_watch.heard()
        if book.remembers:
            self.sight.book, self.sight.noted = book, noted or self.sight.noted
        else:
            remind(self.controller, self.sight, self.fleet, self.hubs.posted)
            self.chronicle.tell("controller_restarted", RESTARTED)
        self._has_answered = True
        self._record(notes)
        self._guard_against_divergence()

    def _guard_against_divergence(self) -> None:
        """Of a loop of the user's own only he knows what its loss means: he is told."""
        if (error := self.sight.blew_up()) is not None:
            if self.program.task is not None:
                raise error
            self.chronicle.tell("diverging", str(error))

    def _note_evaluation(self, evaluation: Evaluation) -> None:
        self.sight.evaluations.append(evaluation)
        self.chronicle.evaluation(evaluation)

    def _record(self, notes: list[Note]) -> None:
        for note in notes:
            if note.user and note.value is not None:
                self.sight.reported[note.name] = note.value
            self.chronicle.note(note, self.sight.samples)
        if time.monotonic() >= self._write_after:
            self._keeper.check()
            self.chronicle.write()
            if self._trace is not None:
                self.hubs.write_traces(self._trace)
            self._write_after = time.monotonic() + _WRITE_EVERY_S

    # -- telling ---------------------------------------------------------------------------

    @property
    def num_workers(self) -> int:
        """How many it has at work, or had."""
        return self.fleet.num_seated or self._num_workers

    def _progress(self) -> Progress:
        sight, stop = self.sight, self.config.stop
        phase = "training" if sight.first_step_at and self._phase == _STARTING else self._phase
        return sight.progress(
            self.fleet.states,
            phase=phase,
            time_s=time.time() - self.began_at,
            training_s=self.trained_s or self._clock.reported_s,
            target_seconds=stop.seconds,
        )
