"""The driver-side trainer: ``ElasticTrainer(...).fit()``, in the shape of Ray Train's trainers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from typing import Any

from actors.cluster import (
    choose_num_workers,
    connected,
    refuse_unknown_placement,
    with_default_tree,
)
from actors.merging import merged, refuse_unless
from actors.page import end_page
from actors.ray_datasets import opened
from actors.run import Run
from actors.worker import Program
from ray_easgd.checkpoint import best_checkpoint, keep_best
from ray_easgd.config import Config
from ray_easgd.differing import Differences, differing, refuse_others, told
from ray_easgd.display import Display, make_display
from ray_easgd.errors import (
    BadConfig,
    BadStorage,
    Diverged,
    EasgdError,
    FolderLost,
    LossBlewUp,
    Superseded,
    TrainingFailedError,
)
from ray_easgd.loop import make_local_step, resolve, resolve_exchange
from ray_easgd.planner.plan import check
from ray_easgd.recipe import algorithm_of, refuse_what_differs_on_the_wire
from ray_easgd.rehearsal import rehearse
from ray_easgd.report import write_report
from ray_easgd.result import Result
from ray_easgd.resumption import found
from ray_easgd.run_folder import RunFolder, fresh_name
from ray_easgd.task import Task
from ray_easgd.trace import TraceFile

_DEFAULT_EPOCHS = 10
_DEFAULT_FEWEST_SAMPLES = 60_000
_OF_THE_RECORD = ("status", "checkpoint", "tree", "error")  # beside the metrics in result.json


class ElasticTrainer:
    """Trains one model by elastic averaging on a Ray cluster that may change under way.

    Two ways in: ``train_loop_per_worker``, your own PyTorch loop (``ray_easgd.session``), or
    ``task``, which the built-in loop trains. ``datasets``, of Ray Data or map-style, are what
    ``session.dataset(name)`` gives the loop. ``config`` takes every key of the command line,
    as a ``Config`` or as nested mappings; ``scaling_config`` and ``run_config`` are those of
    ``ray_easgd``, Ray Train's, or mappings of their fields.
    """

    def __init__(
        self,
        train_loop_per_worker: Callable[..., object] | None = None,
        *,
        train_loop_config: Mapping[str, Any] | None = None,
        task: Task | None = None,
        datasets: Mapping[str, Any] | None = None,
        config: Config | Mapping[str, Any] | None = None,
        scaling_config: Any = None,
        run_config: Any = None,
    ) -> None:
        _refuse_mistaken(train_loop_per_worker, train_loop_config, task, datasets)
        self._datasets = dict(datasets or {})
        self.config = merged(config, scaling_config, run_config)
        if train_loop_per_worker is None:
            task = (task or Task()).filled(self.config)
            self.config = self.config.model_copy(update=task.names())
        self.program = Program(task=task, loop=train_loop_per_worker, loop_config=train_loop_config)

    def fit(
        self,
        *,
        display: Display | None = None,
        began_at: float | None = None,
        trace: str | None = None,
        force: bool = False,
    ) -> Result:
        """Train until the run ends by its own rule. ``trace`` names a file to record it in.

        What is surely not stable is refused, unless by ``force``.

        Raises BadInput before anything has started, TrainingFailedError (with ``.result``) for
        what goes wrong later. Leaves no process behind, also on an exception; Ctrl-C and SIGTERM
        also leave a last checkpoint.
        """
        began_at = began_at or time.time()
        algorithm = algorithm_of(self.config)
        self._refuse_what_a_tree_has_not()
        config = self._resolved()
        with connected(config, log_to_driver=self.program.loop is not None):
            num_workers = choose_num_workers(config, sequential=algorithm.sequential)
            if config.fleet.bounds is None or algorithm.sequential:
                config = updated(config, "fleet", workers=num_workers)
            config = with_default_tree(config, algorithm, num_workers)
            refuse_unknown_placement(config)
            doubt = _doubt(self.config, num_workers, force=force)  # as the user set it
            self.program = replace(self.program, datasets=opened(self._datasets))
            name = config.run.name or fresh_name(config.algorithm.name)
            config = updated(config, "run", name=name)
            with display or make_display() as shown, _folder(config) as folder:
                if (ended := _finished(folder, config, self.config)) is not None:
                    shown.event(
                        f"{name} is finished already; this is its result. To train anew choose "
                        "another run.name, to train on raise what stops it."
                    )
                    return ended
                if doubt:
                    shown.event(doubt)
                return self._train(config, num_workers, folder, shown, began_at, trace)

    def _train(
        self,
        config: Config,
        num_workers: int,
        folder: RunFolder,
        shown: Display,
        began_at: float,
        trace: str | None,
        news: str = "",
    ) -> Result:
        """The run; where its loss blows up, again from its best checkpoint, more slowly."""
        algorithm = algorithm_of(config)
        resumed = found(folder, config, algorithm.name, shown.event)
        if resumed is not None and trace is not None:
            raise BadStorage(
                "--trace",
                trace,
                "a trace begins with the run, and this one is resumed",
                "Leave --trace away, or choose another run.name.",
            )
        others = {} if resumed is None or news else _changes(folder, config, self.config)
        with _trace(trace, config, self.program) as kept:
            run = Run(
                self.program,
                config,
                algorithm,
                folder=folder,
                display=shown,
                began_at=began_at,
                num_workers=num_workers,
                trace=kept,
                resumed=resumed,
            )
            if others:
                run.chronicle.tell("changed", told(others))
            folder.write_config(config.to_yaml())
            if news:
                run.chronicle.tell("rolled_back", news)
            try:
                return _carry_out(run)
            except (Diverged, LossBlewUp) as error:
                if not config.run.rollbacks or trace is not None or self.program.task is None:
                    raise
                slower, news = rolled_back(config, folder, error)
        return self._train(slower, num_workers, folder, shown, began_at, None, news)

    def _refuse_what_a_tree_has_not(self) -> None:
        topology = self.config.topology
        if topology.levels and self.config.center.shards > 1:
            raise BadConfig(
                "center.shards",
                self.config.center.shards,
                "a tree's center is whole: its aggregators already share the load",
                "Set center.shards=1, or leave topology.levels away.",
            )

    def _resolved(self) -> Config:
        """The configuration with every default filled in; data and model checked on the way."""
        task = self.program.task
        if task is None:
            if self.config.stop.accuracy is not None:
                raise BadConfig(
                    "stop.accuracy",
                    self.config.stop.accuracy,
                    "nobody tests the center of a loop of your own",
                    "Set stop.samples or stop.seconds, or give a task.",
                )
            return resolve_exchange(self.config)
        config, stop = resolve(self.config), self.config.stop
        opened = task.open(config)
        model = opened.build_model()
        make_local_step(model.parameters(), config)
        rehearse(opened, model, batch_size=config.batch_size)
        if stop.samples is None and stop.seconds is None and stop.accuracy is None:
            samples = max(_DEFAULT_EPOCHS * len(opened.data.train), _DEFAULT_FEWEST_SAMPLES)
            return updated(config, "stop", samples=samples)
        return config


def _refuse_mistaken(loop: Any, loop_config: Any, task: Any, datasets: Any) -> None:
    """BadConfig for arguments of the wrong type, and for those that contradict each other."""
    is_loop = loop is None or callable(loop)
    remedy = "Give a function that trains; what the built-in loop trains is task=Task(...)."
    refuse_unless("train_loop_per_worker", loop, right=is_loop, remedy=remedy)
    is_task = task is None or isinstance(task, Task)
    remedy = "Give a ray_easgd.Task, as Task(model='mlp', data='digits')."
    refuse_unless("task", task, right=is_task, remedy=remedy)
    remedy = "Give a mapping of names to data sets, as {'train': data}."
    refuse_unless("datasets", datasets, right=isinstance(datasets or {}, Mapping), remedy=remedy)
    if loop is not None and task is not None:
        problem = "there is a train_loop_per_worker too"
        raise BadConfig("task", task, problem, "Give one of the two.")
    if loop is None and datasets:
        problem, remedy = "a task has data of its own", "Give a loop that reads it."
        raise BadConfig("datasets", list(datasets), problem, remedy)
    if loop is None and loop_config is not None:
        problem, remedy = "there is no loop that would take it", "Give a train_loop_per_worker."
        raise BadConfig("train_loop_config", loop_config, problem, remedy)


def rolled_back(
    config: Config, folder: RunFolder, error: TrainingFailedError
) -> tuple[Config, str]:
    """How to go on after ``error``: with half the learning rate, and one rollback less; and what
    to tell of it.

    Of the checkpoints only the best stays: the newest may be of a center that had blown up.
    """
    best = keep_best(folder)
    lr = (config.optimizer.lr or algorithm_of(config).lr) / 2
    place = f"its best checkpoint, {best}" if best else "its beginning: it has no checkpoint"
    told = f"{error} The run goes back to {place}, and on with optimizer.lr={lr:g}."
    config = updated(config, "run", rollbacks=config.run.rollbacks - 1)
    return updated(config, "optimizer", lr=lr), told


def _changes(folder: RunFolder, config: Config, given: Config) -> Differences:
    """What a run that goes on has otherwise than before, where its folder says how that was."""
    try:
        before = Config.from_yaml(folder.read_config() or config.to_yaml())
    except (BadConfig, OSError):  # it was edited, or is an older release's
        return {}
    return differing(before, config, given)


def _doubt(config: Config, num_workers: int, *, force: bool) -> str:
    """What there is to say of a moving rate of the user's own; BadConfig unless by ``force``."""
    try:
        return check(config, num_workers)
    except BadConfig as error:
        if not force:
            raise
        return f"forced: {error.field} = {error.value!r}: {error.problem}"


def _folder(config: Config) -> RunFolder:
    """Of the run of that name, whether it is there or not."""
    assert config.run.name is not None
    storage, name = config.run.storage, config.run.name
    return RunFolder.find(storage, name) or RunFolder.create(storage, name)


def _finished(folder: RunFolder, config: Config, given: Config) -> Result | None:
    """The result of a run that has ended as it was asked to, and is asked for no more.

    BadConfig where it was another: ``given`` is ``config`` as the user set it.
    """
    record = folder.read_result()
    if record is None or record["status"] != "finished":
        return None
    before = Config.from_yaml(folder.read_config())
    if config.stop != before.stop:
        return None
    refuse_others(before, config, given)
    metrics = {k: v for k, v in record.items() if k not in _OF_THE_RECORD}
    return Result(metrics=metrics, path=folder.path, checkpoint=record["checkpoint"])


def _trace(
    path: str | None, config: Config, program: Program
) -> AbstractContextManager[TraceFile | None]:
    if path is None:
        return nullcontext()
    refuse_what_differs_on_the_wire(config, "a trace")
    kind = "task" if program.task is not None else "own_loop"
    return TraceFile.create(path, config.model_dump(mode="json"), kind=kind)


def _carry_out(run: Run) -> Result:
    """Start, supervise, test, save; and end the actors whatever happens."""
    error: EasgdError | None = None
    interrupt: KeyboardInterrupt | SystemExit | None = None
    checkpoint: str | None = None
    try:
        try:
            run.start()
            run.supervise()
            run.test()
        except EasgdError as failure:  # of a worker's too, which may have met bad data
            error = failure
        except (KeyboardInterrupt, SystemExit) as pressed:  # as Ray's drivers take SIGTERM
            interrupt = pressed
        try:
            checkpoint = run.save()
        except (Superseded, FolderLost) as failure:
            error = _worse(run, error, failure)
    finally:
        try:
            end_page(run.folder.name)  # before the controller, whose own it is
        finally:
            run.end()
    ended = "stopped" if run.sight.book.stopped else "finished"
    status = "interrupted" if interrupt else "failed" if error else ended
    result = _finish(run, checkpoint, error, status=status)
    if interrupt is not None:
        raise interrupt
    if isinstance(result.error, TrainingFailedError):
        result.error.result = result
    if result.error is not None:
        raise result.error
    return result


def _worse(run: Run, error: EasgdError | None, late: TrainingFailedError) -> EasgdError:
    """What to raise of what ended a run and what went wrong as it was kept; both are told."""
    run.display.event(str(late))
    if error is None or isinstance(late, Superseded):
        late.__cause__ = error
        return late
    return error


def _finish(run: Run, checkpoint: str | None, error: EasgdError | None, *, status: str) -> Result:
    metrics = summarize(run)
    record = metrics | {
        "status": status,
        "checkpoint": checkpoint,
        "tree": [asdict(node) for node in run.sight.whole_tree(run.fleet.states)],
    }
    if isinstance(error, Superseded):  # the folder is another's
        run.folder.forsake()
    else:
        run.chronicle.write()
        try:
            run.folder.write_result(record | {"error": str(error) if error else None})
        except OSError as failure:
            error = _worse(run, error, FolderLost(run.folder.path, str(failure)))
        try:
            write_report(run.folder)
        except OSError as failure:
            run.display.event(f"the report could not be written: {failure}")
    return Result(metrics=metrics, path=run.folder.path, checkpoint=checkpoint, error=error)


def summarize(run: Run) -> dict[str, Any]:
    """The JSON object of ``ray-easgd train``; user-reported numbers included."""
    sight, workers = run.sight, run.sight.lives
    evaluations = sight.evaluations
    last = evaluations[-1] if evaluations else None
    wall_s = time.time() - run.began_at
    return (
        sight.reported
        | {
            "name": run.folder.name,
            "path": run.folder.path,
            "algorithm": run.algorithm.name,
            "num_workers": run.num_workers,
            "samples": sight.samples,
            "steps": sight.hub.steps if sight.hub else 0,
            "exchanges": sum(w.exchanges for w in workers),
            "exchanges_late": sum(w.exchanges_late for w in workers),
            "bytes_sent": sum(w.bytes_sent for w in workers),
            "bytes_received": sum(w.bytes_received for w in workers),
            "wall_s": wall_s,
            "first_step_s": sight.first_step_at - run.began_at if sight.first_step_at else None,
            "samples_per_s": sight.samples / run.trained_s if run.trained_s else 0.0,
            "train_loss": sight.mean_over_workers(lambda w: w.loss),
            "val_accuracy": last.val_accuracy if last else None,
            "test_accuracy": last.test_accuracy if last else None,
            "best_test_accuracy": max((e.test_accuracy for e in evaluations), default=None),
            "best_checkpoint": best_checkpoint(run.folder),
            "samples_repeated": sight.repeated,
            "samples_missed": sight.book.missed,
            "epochs": sight.epochs,
            "pushes_refused": sight.hub.refused if sight.hub else 0,
            "resumed_from": run.resumed.path if run.resumed else None,
        }
        | ({} if run.ledger_error is None else {"ledger_error": run.ledger_error})
    )


def updated(config: Config, section: str, **values: Any) -> Config:
    """With other values in one section."""
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})
