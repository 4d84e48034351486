"""One run as the driver sees it: starts the actors, watches them, writes the folder, ends them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from actors.cluster import gpus_per_worker
from actors.controller import Note, start_controller
from actors.evaluator import Evaluation
from actors.fleet import Fleet, explain
from actors.hub_slice import joined
from actors.hubs import Hubs
from actors.judge import Judge
from actors.keeper import Keeper
from actors.lifecycle import end_process
from actors.sight import Sight
from actors.worker import Program, Seat
from ray_easgd.algorithms import Algorithm
from ray_easgd.config import Config
from ray_easgd.display import Display, Progress
from ray_easgd.errors import HubLost, Superseded
from ray_easgd.resumption import Resumption
from ray_easgd.run_folder import Event, Metric, RunFolder
from ray_easgd.sections import StopSection
from ray_easgd.topology import hurried
from ray_easgd.trace import TraceFile

if TYPE_CHECKING:
    from ray import ObjectRef

    from actors.hub_slice import Published

_STARTING = "starting workers"
_TICK_S = 0.5
_GRACE_S = 10.0
_WRITE_EVERY_S = 5.0


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
        self.sight, self.resumed = Sight(), resumed
        self._trained_before_s = resumed.trained_s if resumed else 0.0
        self.num_workers, self._trace = num_workers, trace
        self._name = folder.name
        self._beside: dict[str, Any] = {}
        self._phase = _STARTING
        self._observing: list[ObjectRef[Any]] | None = None
        self._training_since: float | None = None
        self._write_after = time.monotonic()
        self._metrics: list[Metric] = []
        self.trained_s = 0.0
        self.ledger_error: float | None = None
        self._start_actors()
        self._zero_at = began_at - folder.reopen()
        self._keeper = Keeper(
            folder, config, algorithm.name, tell=self._tell, trained_s=self._since_first_step
        )
        self._fleet = Fleet(
            run=self._name,
            num_cpus=config.fleet.cpus_per_worker,
            num_gpus=gpus_per_worker(config),
            on_lost=self._worker_lost,
            on_done=self._give_back,
        )

    # -- life ------------------------------------------------------------------------------

    def _start_actors(self) -> None:
        stop = self.config.stop
        self._hubs = Hubs(
            run=self._name,
            config=self.config,
            algorithm=self.algorithm,
            num_workers=self.num_workers,
            tell=self._tell,
            children_of=self._children_of,
            traced=self._trace is not None,
        )
        self.centers = self._hubs.centers
        if self.resumed is not None:
            self._hubs.go_on(self.resumed)
        self._controller = start_controller(
            self._name,
            self.centers,
            total_samples=stop.samples,
            bounded=stop != StopSection(),
            num_hubs=self._hubs.num_leaves,
            num_waiting=max(16, 2 * self.num_workers),
            progress=self.resumed.progress if self.resumed else None,
        )
        self._hubs.start(self._controller)
        self._judge = None
        if self.program.task is not None:
            self._judge = Judge(
                self._name,
                self.program.task,
                self.config,
                self.centers,
                on_evaluation=self._note_evaluation,
                on_failure=self._judge_failed,
            )

    def start(self) -> None:
        """Seat the fleet. Nobody waits for the slowest to arrive."""
        self.display.update(self._progress())
        for index in range(self.num_workers):
            self._fleet.start(self._seat(index))
        self._tell("started", f"{self.num_workers} workers, {self.algorithm.name}")
        if self.resumed is not None:
            self._tell("resumed", f"goes on from {self.resumed.path}: {self.resumed.summary}")
        if warning := hurried(self.config.topology.levels):
            self._tell("warning", warning)

    def supervise(self) -> None:
        """Watch until the run is over by its own rule; errors of workers and center surface."""
        while not self._over():
            self._settle_ended()
            self._look(wait=False)
            if self._judge is not None and self.sight.hub and self.sight.hub.version.count:
                self._judge.look()
            if self.has_center:
                self._keeper.look(self.centers)
        self._wind_down()
        self._fleet.kill()  # nobody moves the center any more
        self._look()
        self.trained_s = self._since_first_step()

    def test(self) -> None:
        """The last test, of the center as it is in the end."""
        self._phase = "testing the center"
        self.display.update(self._progress())
        if self._judge is not None and self.has_center:
            self._beside = self._judge.last(self._judged())
        self.display.update(self._progress())

    def save(self) -> str | None:
        """Write a checkpoint of the center; its path, or None where there is no center."""
        try:
            self._look()
            if not self.has_center:
                return None
            self._end_trace()
            if self.config.exchange.ledger:
                gaps = [self._ask(center.ledger_error.remote()) for center in self.centers]
                self.ledger_error = max((gap for gap in gaps if gap is not None), default=None)
            return self._keeper.last(self.centers, self._beside)
        except (HubLost, RayError, Superseded):
            return None

    @property
    def has_center(self) -> bool:
        """Whether a worker has brought the vector that the center starts from."""
        return self.sight.hub is not None and self.sight.hub.num_parameters > 0

    def end(self) -> None:
        """End every actor of this run. Safe to call at any moment, and twice."""
        self.trained_s = self.trained_s or self._since_first_step()
        self._fleet.kill()
        self._hubs.end()
        end_process(self._controller)
        if self._judge is not None:
            self._judge.end()

    # -- watching --------------------------------------------------------------------------

    def _over(self) -> bool:
        """Whether the run has reached what ends it."""
        stop, sight = self.config.stop, self.sight
        if not self._fleet.running or self._all_seen:
            return True
        if stop.seconds is not None and self._training_s() >= stop.seconds:
            return True
        accuracy = sight.evaluations[-1].val_accuracy if sight.evaluations else 0.0
        return stop.accuracy is not None and accuracy >= stop.accuracy

    @property
    def _all_seen(self) -> bool:
        """Whether the center has all samples the run was asked for."""
        return self.config.stop.samples is not None and self.sight.book.done

    def _settle_ended(self) -> None:
        """Wait a tick for calls of workers to end, and for what happens to aggregators."""
        running, watched = self._fleet.running, self._hubs.watched
        for reference in ray.wait([*running, *watched], timeout=_TICK_S)[0]:
            if reference in watched:
                self._hubs.settle(watched[reference])
                continue
            status = self._fleet.settle(running[reference], self._steps_of)
            if status is not None:
                self.sight.final[status.name, status.life] = status

    def _wind_down(self) -> None:
        """Let workers finish with a last exchange. One that does not answer is not waited for.

        Where all samples have been seen they are not interrupted: their data ends by itself, and
        what a loop does after it still counts.
        """
        self._fleet.wind_down(interrupt=not self._all_seen)
        until = time.monotonic() + _GRACE_S
        while self._fleet.running and time.monotonic() < until:
            self._settle_ended()
            self._look(wait=False)
        for name in self._fleet.running.values():
            self._tell(
                "left_behind",
                f"{name} did not end within {_GRACE_S:g} s of the run's end; what it had not "
                "pushed is lost",
            )

    def _look(self, *, wait: bool = True) -> None:
        """Fetch what hub and controller know; record and show it.

        Without ``wait`` an answer still under way is left for the next look, so that a center
        that is stopped, rather than dead, does not stop the driver.
        """
        self._hubs.look()
        self.sight.hubs = self._hubs.statuses
        if self._observing is None:
            hubs = [center.status.remote() for center in self.centers]
            self._observing = [*hubs, self._controller.observe.remote(*hubs)]
        asked = self._observing
        if wait or not ray.wait(asked, num_returns=len(asked), timeout=_TICK_S / 10)[1]:
            self._observing = None
            self.sight.hub = joined([self._ask(hub) for hub in asked[:-1]])
            if why := self.sight.why_messages():
                self._tell("messages", why)
            self.sight.book, notes, self.sight.noted = self._ask(asked[-1])
            self._record(notes)
        self.display.update(self._progress())

    def _judged(self) -> list[Published]:
        """The center as it is tested and kept, shard by shard."""
        return [self._ask(center.pull_judged.remote()) for center in self.centers]

    def _ask(self, reference: ObjectRef[Any]) -> Any:
        """An answer of center or controller; HubLost when one of them died."""
        try:
            return ray.get(reference)
        except RayTaskError as error:
            raise explain("the center or the controller", error) from error
        except RayError as error:
            reason = str(error).splitlines()[0]
            raise HubLost("the center or the controller", reason) from error

    def _judge_failed(self, reason: str) -> None:
        self._tell(
            "evaluator_failed",
            f"the center can no longer be tested; training goes on. {reason}",
            source="evaluator",
        )

    def _note_evaluation(self, evaluation: Evaluation) -> None:
        self.sight.evaluations.append(evaluation)
        now = time.time() - self._zero_at
        self._metrics.extend(
            Metric(
                time_s=now,
                samples=evaluation.samples,
                source="evaluator",
                step=evaluation.version.count,
                name=name,
                value=getattr(evaluation, name),
            )
            for name in ("val_loss", "val_accuracy", "test_loss", "test_accuracy")
        )

    def _record(self, notes: list[Note]) -> None:
        samples = self.sight.samples
        for note in notes:
            if note.value is None:
                self._tell(note.name, note.message, source=note.source, **(note.details or {}))
                continue
            if note.user:
                self.sight.reported[note.name] = note.value
            self._metrics.append(
                Metric(
                    time_s=note.at - self._zero_at,
                    samples=samples,
                    source="user" if note.user else note.source,
                    step=note.step,
                    name=note.name,
                    value=note.value,
                )
            )
        if time.monotonic() >= self._write_after:
            self.write()
            self._write_trace()
            self._write_after = time.monotonic() + _WRITE_EVERY_S

    def write(self) -> None:
        """Put the numbers gathered so far into the run's folder."""
        metrics, self._metrics = self._metrics, []
        if metrics:
            self.folder.write_metrics(metrics)

    def _write_trace(self) -> None:
        if self._trace is not None:
            for name, record in self._hubs.take_traces():
                self._trace.write(record, hub=name)

    def _end_trace(self) -> None:
        if self._trace is not None:
            self._write_trace()
            header, (vector,) = self._ask(self.centers[0].pull.remote(0))
            self._trace.end(header.version, self._ask(vector))

    def _tell(self, kind: str, message: str, *, source: str = "driver", **details: Any) -> None:
        now = time.time() - self._zero_at
        event = Event(time_s=now, kind=kind, source=source, message=message, details=details)
        self.folder.write_events([event])
        self.display.event(message)

    # -- workers ---------------------------------------------------------------------------

    def _seat(self, index: int) -> Seat:
        return Seat(
            name=f"worker-{index}",
            index=index,
            life=1 + (self.resumed.born if self.resumed else 0),
            config=self.config,
            algorithm=self.algorithm,
            program=self.program,
            centers=self.centers,
            controller=self._controller,
            traced=self._trace is not None,
        )

    def _worker_lost(self, name: str, cause: str) -> None:
        for hub in (*self.centers, *self._hubs.handles.values()):
            hub.lose.remote(name)
        self._give_back(name)
        self._tell(
            "worker_lost",
            f"{name} is lost ({cause}): its displacement from the center is lost, its data goes "
            "back to the queue",
            worker=name,
        )

    def _children_of(self, hub: str) -> list[Any]:
        """The workers under an aggregator, as they last said."""
        names = [worker.name for worker in self.sight.workers.values() if worker.hub == hub]
        return self._fleet.handles(names)

    def _give_back(self, name: str) -> None:
        """Its leases return to the queue, less what the hub has seen by now."""
        self._controller.release.remote(name)

    def _steps_of(self, name: str, life: int) -> int:
        steps = (w.step for w in self.sight.lives if (w.name, w.life) == (name, life))
        return next(steps, 0)

    # -- telling ---------------------------------------------------------------------------

    def _training_s(self) -> float:
        """Seconds since the driver saw the first step of anyone; 0 before."""
        if self._training_since is None and self.sight.first_step_at is not None:
            self._training_since = time.monotonic()
        since = self._training_since
        return 0.0 if since is None else self._trained_before_s + time.monotonic() - since

    def _since_first_step(self) -> float:
        """Seconds since the first step, by the clock of the worker that took it."""
        first = self.sight.first_step_at
        return 0.0 if first is None else self._trained_before_s + max(0.0, time.time() - first)

    def _progress(self) -> Progress:
        sight, stop = self.sight, self.config.stop
        phase = "training" if sight.first_step_at and self._phase == _STARTING else self._phase
        return sight.progress(
            self._fleet.states,
            phase=phase,
            time_s=time.time() - self.began_at,
            training_s=self.trained_s or self._since_first_step(),
            target_seconds=stop.seconds,
        )
