"""One run as the driver sees it: starts the actors, watches them, writes the folder, ends them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from actors.center import HubStatus, start_center
from actors.cluster import gpus_per_worker
from actors.controller import Book, Note, WorkerStatus, start_controller
from actors.evaluator import Evaluation, start_evaluator
from actors.fleet import Fleet, explain
from actors.lifecycle import end_process
from actors.worker import Program, Seat
from ray_easgd.algorithms import Algorithm
from ray_easgd.checkpoint import write_checkpoint
from ray_easgd.config import Config
from ray_easgd.display import Display, Progress, WorkerProgress
from ray_easgd.errors import HubLost
from ray_easgd.hub import options_for
from ray_easgd.run_folder import Event, Metric, RunFolder

if TYPE_CHECKING:
    from ray import ObjectRef

_STARTING = "starting workers"
_TICK_S = 0.5
_GRACE_S = 10.0
_WRITE_EVERY_S = 5.0


@dataclass
class _Sight:
    """What the driver has seen last."""

    hub: HubStatus | None = None
    book: Book = field(default_factory=lambda: Book(opened=False))
    lives: list[WorkerStatus] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    reported: dict[str, float] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        return 0 if self.hub is None else self.hub.progress.num_distinct + self.repeated

    @property
    def workers(self) -> dict[str, WorkerStatus]:
        """The latest life of each worker."""
        return {status.name: status for status in sorted(self.lives, key=lambda s: s.life)}

    @property
    def repeated(self) -> int:
        return 0 if self.hub is None else self.hub.progress.num_repeated


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
    ) -> None:
        self.program, self.config, self.algorithm = program, config, algorithm
        self.folder, self.display, self.began_at = folder, display, began_at
        self.sight = _Sight()
        self.num_workers = num_workers
        self._name = folder.name
        self._beside: dict[str, Any] = {}
        self._phase = _STARTING
        self._observing: tuple[ObjectRef[Any], ObjectRef[Any]] | None = None
        self._evaluating: ObjectRef[Evaluation] | None = None
        self._evaluate_after = self._write_after = time.monotonic()
        self._metrics: list[Metric] = []
        self._start_hubs()
        self._fleet = Fleet(
            run=self._name,
            num_cpus=config.fleet.cpus_per_worker,
            num_gpus=gpus_per_worker(config),
            on_lost=self._worker_lost,
            on_done=self._give_back,
        )

    # -- life ------------------------------------------------------------------------------

    def _start_hubs(self) -> None:
        section, center = self.config.algorithm, self.config.center
        options = options_for(
            self.algorithm,
            beta=section.beta,
            fixed_rate=section.moving_rate,
            ledger_seed=self.config.seed if self.config.exchange.ledger else None,
            average=center.average,
            average_rate=center.average_rate,
        )
        self.center = start_center(self._name, options)
        self._controller = start_controller(self._name, self.center, self.config.stop.samples)
        self._actors = [self.center, self._controller]
        self._evaluator = None
        if self.program.task is not None:
            self._evaluator = start_evaluator(self._name, self.program.task, self.config)
            self._actors.append(self._evaluator)

    def start(self) -> None:
        """Seat the fleet. Nobody waits for the slowest to arrive."""
        self.display.update(self._progress())
        for index in range(self.num_workers):
            self._fleet.start(self._seat(index))
        self._tell("started", f"{self.num_workers} workers, {self.algorithm.name}")

    def supervise(self) -> None:
        """Watch until the run is over by its own rule; errors of workers and center surface."""
        while not self._over():
            running = self._fleet.running
            ended, _ = ray.wait(list(running), timeout=_TICK_S)
            self._look(wait=False)
            for reference in ended:
                self._fleet.settle(running[reference], self._steps_of)
        if not self.sight.book.done:
            self._wind_down()

    def test(self) -> None:
        """The last test of the center, as it is in the end."""
        self._phase = "testing the center"
        self._look()
        if self._evaluator is None or not self.has_center:
            return
        if self._evaluating is not None:
            self._ask(self._evaluating)
        published = self._ask(self.center.pull_judged.remote())
        self._note_evaluation(self._ask(self._evaluator.evaluate.remote(published)))
        self._beside = self._ask(self._evaluator.beside_the_vector.remote())

    def save(self) -> str | None:
        """Write a checkpoint of the center; its path, or None where there is no center."""
        try:
            self._look()
            if not self.has_center:
                return None
            header, (vector,) = self._ask(self.center.pull_judged.remote())
            layout = self._ask(self.center.layout.remote())
        except HubLost:
            return None
        return write_checkpoint(
            self.folder,
            header.version.count,
            vector=ray.get(vector),
            layout=layout,
            manifest={
                "version": [header.version.epoch, header.version.count],
                "algorithm": self.algorithm.name,
                "model": self.config.model,
                "data": self.config.data,
                "samples": header.samples,
                "steps": header.steps,
            },
            extra=self._beside,
        )

    @property
    def has_center(self) -> bool:
        """Whether a worker has brought the vector that the center starts from."""
        return self.sight.hub is not None and self.sight.hub.num_parameters > 0

    def end(self) -> None:
        """End every actor of this run. Safe to call at any moment, and twice."""
        self._fleet.kill()
        for actor in self._actors:
            end_process(actor)

    # -- watching --------------------------------------------------------------------------

    def _over(self) -> bool:
        """Whether the run has reached what ends it."""
        stop, sight = self.config.stop, self.sight
        if not self._fleet.running or sight.book.done:
            return True
        if stop.seconds is not None and self._training_s() >= stop.seconds:
            return True
        accuracy = sight.evaluations[-1].val_accuracy if sight.evaluations else 0.0
        return stop.accuracy is not None and accuracy >= stop.accuracy

    def _wind_down(self) -> None:
        """Let workers finish with a last exchange. One that does not answer is not waited for."""
        self._fleet.ask_to_end()
        until = time.monotonic() + _GRACE_S
        while (running := self._fleet.running) and time.monotonic() < until:
            for reference in ray.wait(list(running), timeout=_TICK_S)[0]:
                self._fleet.settle(running[reference], self._steps_of)
        for name in self._fleet.running.values():
            self._tell(
                "left_behind",
                f"{name} did not answer within {_GRACE_S:g} s of the end; what it had not "
                "pushed is lost",
            )

    def _look(self, *, wait: bool = True) -> None:
        """Fetch what hub and controller know; record and show it.

        Without ``wait`` an answer still under way is left for the next look, so that a center
        that is stopped, rather than dead, does not stop the driver.
        """
        if self._observing is None:
            hub = self.center.status.remote()
            self._observing = hub, self._controller.observe.remote(hub)
        answers = list(self._observing)
        if wait or len(ray.wait(answers, num_returns=2, timeout=_TICK_S / 10)[0]) == 2:
            self._observing = None
            self.sight.hub = self._ask(answers[0])
            self.sight.book, notes, self.sight.lives = self._ask(answers[1])
            self._record(notes)
            self._evaluate_if_due()
        self.display.update(self._progress())

    def _ask(self, reference: ObjectRef[Any]) -> Any:
        """An answer of center, controller or evaluator; HubLost when one of them died."""
        try:
            return ray.get(reference)
        except RayTaskError as error:
            raise explain("the evaluator", error) from error
        except RayActorError as error:
            raise HubLost("an actor that holds the run", str(error).splitlines()[0]) from error

    def _evaluate_if_due(self) -> None:
        if self._evaluator is None or not self.sight.hub or not self.sight.hub.version.count:
            self._evaluate_after = time.monotonic() + self.config.evaluation.interval_s
            return
        if self._evaluating is not None:
            if ray.wait([self._evaluating], timeout=0)[0]:
                self._note_evaluation(self._ask(self._evaluating))
                self._evaluating = None
        elif time.monotonic() >= self._evaluate_after:
            self._evaluating = self._evaluator.evaluate.remote(self.center.pull_judged.remote())

    def _note_evaluation(self, evaluation: Evaluation) -> None:
        self.sight.evaluations.append(evaluation)
        section = self.config.evaluation
        rest = max(section.interval_s, evaluation.took_s * (1 / section.share - 1))
        self._evaluate_after = time.monotonic() + rest
        now = time.time() - self.began_at
        self._metrics.extend(
            [
                Metric(
                    time_s=now,
                    samples=evaluation.samples,
                    source="evaluator",
                    step=evaluation.version.count,
                    name=name,
                    value=getattr(evaluation, name),
                )
                for name in ("val_loss", "val_accuracy", "test_loss", "test_accuracy")
            ]
        )

    def _record(self, notes: list[Note]) -> None:
        samples = self.sight.samples
        for note in notes:
            if note.value is None:
                self._tell(note.name, note.message, source=note.source, **(note.details or {}))
                continue
            if note.name not in _OURS:
                self.sight.reported[note.name] = note.value
            self._metrics.append(
                Metric(
                    time_s=note.at - self.began_at,
                    samples=samples,
                    source=note.source,
                    step=note.step,
                    name=note.name,
                    value=note.value,
                )
            )
        if time.monotonic() >= self._write_after:
            self.write()
            self._write_after = time.monotonic() + _WRITE_EVERY_S

    def write(self) -> None:
        """Put the numbers gathered so far into the run's folder."""
        metrics, self._metrics = self._metrics, []
        if metrics:
            self.folder.write_metrics(metrics)

    def _tell(self, kind: str, message: str, *, source: str = "driver", **details: Any) -> None:
        now = time.time() - self.began_at
        event = Event(time_s=now, kind=kind, source=source, message=message, details=details)
        self.folder.write_events([event])
        self.display.event(message)

    # -- workers ---------------------------------------------------------------------------

    def _seat(self, index: int) -> Seat:
        return Seat(
            name=f"worker-{index}",
            index=index,
            life=1,
            config=self.config,
            algorithm=self.algorithm,
            program=self.program,
            center=self.center,
            controller=self._controller,
        )

    def _worker_lost(self, name: str, cause: str) -> None:
        self.center.lose.remote(name)
        self._give_back(name)
        self._tell(
            "worker_lost",
            f"{name} is lost ({cause}); its data goes back to the queue, what it had not pushed "
            "is lost, a new worker takes its seat",
            worker=name,
        )

    def _give_back(self, name: str) -> None:
        """Its leases return to the queue, less what the hub has seen by now."""
        self._controller.release.remote(name)

    def _steps_of(self, name: str) -> int:
        status = self.sight.workers.get(name)
        return status.step if status else 0

    # -- telling ---------------------------------------------------------------------------

    def _training_s(self) -> float:
        """Seconds since the first step of anyone; 0 before."""
        first = self.first_step_at
        return 0.0 if first is None else time.time() - first

    @property
    def first_step_at(self) -> float | None:
        """Wall time of the first gradient step of the run."""
        times = [w.first_step_at for w in self.sight.lives if w.first_step_at]
        return min(times, default=None)

    def _progress(self) -> Progress:
        sight, stop = self.sight, self.config.stop
        last = sight.evaluations[-1] if sight.evaluations else None
        phase = "training" if self.first_step_at and self._phase == _STARTING else self._phase
        return Progress(
            time_s=time.time() - self.began_at,
            samples=sight.samples,
            target_samples=sight.book.total,
            target_seconds=stop.seconds,
            version=sight.hub.version.count if sight.hub else 0,
            val_accuracy=last.val_accuracy if last else None,
            val_loss=last.val_loss if last else None,
            train_loss=self.mean_over_workers(lambda w: w.loss),
            samples_per_s=sight.samples / max(self._training_s(), 1e-9) if sight.samples else 0.0,
            workers=self._worker_rows(),
            phase=phase,
        )

    def _worker_rows(self) -> tuple[WorkerProgress, ...]:
        return tuple(
            _row(name, state, self.sight.workers.get(name))
            for name, state in self._fleet.states.items()
        )

    def mean_over_workers(self, of: Callable[[WorkerStatus], float]) -> float | None:
        """The mean of a number over the workers that have one."""
        values = [v for v in map(of, self.sight.workers.values()) if not math.isnan(v)]
        return sum(values) / len(values) if values else None


_OURS = frozenset({"loss", "distance", "staleness", "push_norm", "step_rate"})


def _row(name: str, state: str, status: WorkerStatus | None) -> WorkerProgress:
    status = status or WorkerStatus(name=name, life=0, device="")
    if state == "training" and not status.step:
        state = "starting"
    return WorkerProgress(
        name=name,
        state=state,
        step=status.step,
        steps_per_s=status.steps_per_s,
        exchanges=status.exchanges,
        late=status.exchanges_late,
        staleness=status.staleness,
        distance=status.distance,
        loss=status.loss,
        device=status.device,
    )
