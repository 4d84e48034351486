"""Every error this project raises on purpose, in one tree.

    EasgdError
    ├── BadInput                  the user's input cannot work: field, value, remedy; exit code 2
    │   ├── BadConfig             a configuration key
    │   ├── BadData               a data set: missing path, missing column, empty split
    │   ├── BadModel              a model: unknown name, parameters we cannot hold
    │   ├── BadCluster            a cluster that does not answer or can never fit the fleet
    │   └── BadStorage            a place we cannot write to, or a run that is already there
    ├── Unavailable               a contender of a benchmark that cannot take part here
    └── TrainingFailedError       a run that began and could not go on; exit code 1
        ├── WorkerFailed          the user's own code raised inside a worker
        ├── FleetLost             replacements end as those before them did: a crash loop
        ├── HubLost               the center's process is gone
        ├── Superseded            another driver has taken over the run
        ├── FolderLost            the end of a run could not be kept in its folder
        ├── LossBlewUp            the training loss rose far above where it started
        └── Diverged              a worker met non-finite numbers again and again

``args`` always equal the constructor's arguments, so each error crosses a process boundary as
itself (pickle rebuilds an exception from ``args``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_easgd.result import Result


_CALM = (
    "Lower optimizer.lr, or clip the gradients (optimizer.clip_norm; a loop of your own by "
    "torch.nn.utils.clip_grad_norm_)."
)


class EasgdError(Exception):
    """Base of every error raised on purpose."""


class BadInput(EasgdError):
    """Input that cannot work. Says which field, its value, what is wrong and what to do."""

    def __init__(self, field: str, value: object, problem: str, remedy: str) -> None:
        super().__init__(field, value, problem, remedy)
        self.field, self.value, self.problem, self.remedy = field, value, problem, remedy

    def __str__(self) -> str:
        return f"{self.field} = {self.value!r}: {self.problem}. {self.remedy}"


class BadConfig(BadInput):
    """A configuration key that is unknown, or whose value cannot work."""


class BadData(BadInput):
    """A data set that is not there or does not have the expected form."""


class BadModel(BadInput):
    """A model that is unknown, or whose parameters one float32 vector cannot hold."""


class BadCluster(BadInput):
    """A Ray cluster that does not answer, or can never fit the fleet asked for."""


class BadStorage(BadInput):
    """A storage path that cannot be written, or already holds a run of that name."""


class Unavailable(EasgdError):
    """A contender of a benchmark that cannot take part here; the others go on without it."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name} cannot take part: {self.reason}"


class TrainingFailedError(EasgdError):
    """A run that began and could not go on. ``result`` holds what it left behind, if anything."""

    result: Result | None = None


class WorkerFailed(TrainingFailedError):
    """Code running in a worker raised. ``cause`` is its traceback, as text."""

    def __init__(self, worker: str, cause: str) -> None:
        super().__init__(worker, cause)
        self.worker, self.cause = worker, cause

    def __str__(self) -> str:
        return f"{self.worker} failed; the run has ended and its folder is kept.\n{self.cause}"


class FleetLost(TrainingFailedError):
    """Workers are lost, and their replacements end as they did: a crash loop."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.reason}\nThe run has ended rather than pay for more of the same; what the "
            "center had is kept, and the same command goes on from there. The workers' logs are "
            "in Ray's dashboard."
        )


class HubLost(TrainingFailedError):
    """The center's process is gone."""

    def __init__(self, hub: str, cause: str) -> None:
        super().__init__(hub, cause)
        self.hub, self.cause = hub, cause

    def __str__(self) -> str:
        return (
            f"{self.hub} is gone ({self.cause}), and with it what no checkpoint holds. "
            "See its log in Ray's dashboard, and run again."
        )


class Superseded(TrainingFailedError):
    """Another driver goes on with this run: what this one wrote now would be mixed with its."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return (
            f"another driver has taken over the run in {self.path}; this one has ended and wrote "
            "nothing more there. Two at once need names of their own: set run.name."
        )


class FolderLost(TrainingFailedError):
    """The end of a run could not be written into its folder."""

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(path, cause)
        self.path, self.cause = path, cause

    def __str__(self) -> str:
        return (
            f"{self.path} cannot be written to ({self.cause}): the end of the run is not kept "
            "there. Make room, or make it writable; the same command then goes on from its newest "
            "checkpoint."
        )


class LossBlewUp(TrainingFailedError):
    """The fleet's training loss rose far above where it started, and stayed there."""

    def __init__(self, loss: float, start: float) -> None:
        super().__init__(loss, start)
        self.loss, self.start = loss, start

    def __str__(self) -> str:
        return (
            f"the training loss has blown up to {self.loss:.3g}; it started from {self.start:.3g}. "
            + _CALM
        )


class Diverged(TrainingFailedError):
    """A worker met non-finite numbers again and again, each time after a start from the center."""

    def __init__(self, worker: str, times: int) -> None:
        super().__init__(worker, times)
        self.worker, self.times = worker, times

    def __str__(self) -> str:
        return (
            f"{self.worker} met non-finite numbers {self.times} times in a row, each time after "
            f"starting again from the center. {_CALM}"
        )
