"""What a run leaves behind, as a folder that any tool can read.

    config.yaml             the resolved configuration; reproduces the run
    metrics/part-*.parquet  every measured number, one a row (``Metric``)
    tensorboard/            the same numbers for TensorBoard
    events.jsonl            what happened, one JSON object a line (``Event``)
    result.json             how it ended; absent while it runs
    checkpoints/N/          see ``ray_easgd.checkpoint``
    report.html             see ``ray_easgd.report``

The driver is the only writer. Readers may look at any moment and see whole files.
"""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ray_easgd import strict_json
from ray_easgd.errors import BadStorage
from ray_easgd.storage import Place, place_at

if TYPE_CHECKING:
    import pyarrow

    from ray_easgd.tensorboard_curves import TensorBoardCurves

CONFIG, EVENTS, RESULT, METRICS = "config.yaml", "events.jsonl", "result.json", "metrics"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One measured number."""

    time_s: float  # since the run began
    samples: int  # that the center had absorbed by then, in the whole run
    source: str  # worker-0, center, evaluator, user
    step: int  # the source's own clock in gradient steps; 0 where it has none
    name: str  # loss, distance, staleness, push_norm, step_rate, val_accuracy, ...
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened once."""

    time_s: float  # since the run began
    kind: str  # worker_lost, resumed, failed, ...
    source: str
    message: str
    details: Mapping[str, object]  # of JSON's types


class RunFolder:
    """One run's folder. ``create`` begins a run's, ``open`` looks at one that is there."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._began_at: float | None = None  # seconds since 1970
        self._next_part = 0
        self._curves: TensorBoardCurves | None = None

    @classmethod
    def create(cls, storage: str, name: str) -> RunFolder:
        """A new folder ``name`` in ``storage``, a path or a URI.

        Raises BadStorage when that cannot be written to, or holds a run of that name.
        """
        check_name(name)
        folder = cls(_reach(storage).child(name))
        try:
            folder._claim(name)
        except OSError as error:
            remedy = "Give a folder or URI you may write to"
            raise BadStorage("run.storage", storage, f"cannot write: {error}", remedy) from error
        return folder

    @classmethod
    def open(cls, path: str) -> RunFolder:
        """The folder of a run that began earlier. Raises BadStorage when it is not one."""
        place = _reach(path, field="PATH")
        if not (place.exists(EVENTS) or place.exists(CONFIG)):
            problem = f"not the folder of a run: it holds neither {CONFIG} nor {EVENTS}"
            raise BadStorage("PATH", path, problem, "Give the path that `train` printed")
        folder = cls(place)
        parts = folder._parts()
        folder._next_part = _part_number(parts[-1]) + 1 if parts else 0
        return folder

    @classmethod
    def find(cls, storage: str, name: str) -> RunFolder | None:
        """The folder of the run of that name, if there is one."""
        check_name(name)
        place = _reach(storage).child(name)
        there = place.exists(EVENTS) or place.exists(CONFIG)
        return cls.open(place.shown) if there else None

    def forget_result(self) -> None:
        """How it ended before: the run goes on."""
        self.place.delete(RESULT)

    @property
    def reached_s(self) -> float:
        """How far its clock had come; 0 of a fresh run."""
        times = [event["time_s"] for event in self.read_events()]
        if parts := self._parts():
            times += _times(self.place.read(f"{METRICS}/{parts[-1]}"))
        return max(times, default=0.0)

    @property
    def path(self) -> str:
        """Where it is: an absolute path, or a URI."""
        return self.place.shown

    @property
    def name(self) -> str:
        return self.path.partition("?")[0].rstrip("/").rpartition("/")[2]

    def write_config(self, text: str) -> None:
        """Write the resolved configuration, as YAML."""
        self.place.write(CONFIG, text.encode())

    def write_metrics(self, metrics: Sequence[Metric]) -> None:
        """Add metrics, as one more Parquet file and to TensorBoard. Call it every few seconds."""
        if not metrics:
            return
        self.place.write(f"{METRICS}/part-{self._next_part:05d}.parquet", _to_parquet(metrics))
        self._next_part += 1
        try:
            self._tensorboard().write(metrics, self._wall_clock(metrics[-1].time_s))
        except OSError:  # its writer is done for; the numbers themselves are kept
            self._curves = None

    def write_events(self, events: Sequence[Event]) -> None:
        """Add events, each with the wall time (UTC) at which it happened."""
        if not events:
            return
        began_at = self._wall_clock(events[-1].time_s)
        lines = (strict_json.dumps(_stamped(event, began_at)) + "\n" for event in events)
        self.place.append(EVENTS, "".join(lines).encode())

    def write_result(self, result: Mapping[str, object]) -> None:
        """Say how the run ended."""
        self.place.write(RESULT, (strict_json.dumps(result, indent=2) + "\n").encode())

    def write_page(self, name: str, html: str) -> str:
        """Write a page and return where it is."""
        self.place.write(name, html.encode())
        return self.place.child(name).shown

    @property
    def num_parts(self) -> int:
        """How many files of metrics there are."""
        return len(self._parts())

    def read_metrics(self, parts: slice = slice(None)) -> pyarrow.Table:
        """Every metric so far: a column for each field of ``Metric``, in the order written.

        ``parts``: of these files only; one that is there does not change any more.
        """
        import pyarrow
        from pyarrow import parquet

        names = self._parts()[parts]
        found = (self.place.read(f"{METRICS}/{name}") for name in names)
        tables = [parquet.read_table(io.BytesIO(part)) for part in found]
        return pyarrow.concat_tables([_schema().empty_table(), *tables])

    def read_events(self) -> list[dict[str, Any]]:
        """Every event so far, oldest first: ``Event``'s fields, and ``time`` in ISO 8601."""
        whole, _, _ = self._text(EVENTS).rpartition("\n")  # the rest is being written, or torn
        return [strict_json.loads(line) for line in whole.split("\n") if line]

    def read_config(self) -> str:
        """The resolved configuration; empty if the run died before it had one."""
        return self._text(CONFIG)

    def read_result(self) -> dict[str, Any] | None:
        """How the run ended; None while it runs, or if it was killed."""
        text = self._text(RESULT)
        return strict_json.loads(text) if text else None

    def close(self) -> None:
        """Finish the TensorBoard files. Writing again afterwards starts another one.

        Where they cannot be written they are left away: the numbers stand in the metrics.
        """
        curves, self._curves = self._curves, None
        if curves is not None:
            with suppress(OSError):
                curves.close()
                self.place.publish(TENSORBOARD, curves.folder)

    def forsake(self) -> None:
        """Another driver writes here now: what is not written yet is left away."""
        self._curves = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _claim(self, name: str) -> None:
        self.place.create()
        taken = bool(self.place.names(""))
        try:
            if not taken:
                self.place.claim(EVENTS)  # also the proof that we may write here
        except FileExistsError:
            taken = True
        if taken:
            remedy = f"Choose another run.name, or look at it: ray-easgd show {self.path}"
            raise BadStorage("run.name", name, f"{self.path} is there already", remedy)

    def _parts(self) -> list[str]:
        parts = (p for p in self.place.names(METRICS) if p.endswith(".parquet"))
        return sorted(parts, key=_part_number)

    def _text(self, name: str) -> str:
        try:
            return self.place.read(name).decode()
        except FileNotFoundError:
            return ""

    def _tensorboard(self) -> TensorBoardCurves:
        if self._curves is None:
            from ray_easgd.tensorboard_curves import TensorBoardCurves

            self._curves = TensorBoardCurves(self.place.stage(TENSORBOARD))
        return self._curves

    def _wall_clock(self, latest_s: float) -> float:
        """When the run's clock stood at 0, in seconds since 1970.

        The first record written tells: it was measured just now. Asked once, so that all wall
        times of a run differ as its own clock says, whatever is done to the machine's.
        """
        if self._began_at is None:
            self._began_at = time.time() - latest_s
        return self._began_at


def _reach(storage: str, field: str = "run.storage") -> Place:
    try:
        return place_at(storage)
    except (OSError, ValueError, NotImplementedError, ImportError) as error:
        remedy = "Give a folder, or a URI that pyarrow.fs.FileSystem.from_uri understands"
        raise BadStorage(field, storage, f"cannot be reached: {error}", remedy) from error


def fresh_name(method: str) -> str:
    """For a run that the user gave no name: method and time, and what tells two of one second
    apart."""
    return f"{method}-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def check_name(name: str) -> None:
    """BadStorage where a run cannot have that name."""
    if not name or name[0] == "." or any(c in "/\\?#" or not c.isprintable() for c in name):
        problem = "a run's name is one folder: no slash, no question mark, no leading dot"
        raise BadStorage("run.name", name, problem, "Choose another run.name")


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    number, count, word = pa.float64(), pa.int64(), pa.string()
    kinds = [number, count, word, count, word, number]
    return pa.schema(zip(Metric.__slots__, kinds, strict=True))


def _to_parquet(metrics: Sequence[Metric]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    schema = _schema()
    columns = {name: [getattr(m, name) for m in metrics] for name in schema.names}
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns, schema=schema), buffer)
    return buffer.getvalue()


def _times(part: bytes) -> list[float]:
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(part), columns=["time_s"])
    times: list[float] = table.column("time_s").to_pylist()
    return times


def _part_number(part: str) -> int:
    return int(part.removeprefix("part-").removesuffix(".parquet"))


def _stamped(event: Event, began_at: float) -> dict[str, object]:
    moment = datetime.fromtimestamp(began_at + event.time_s, UTC)
    fields = {name: getattr(event, name) for name in Event.__slots__}
    return {"time": moment.isoformat(timespec="milliseconds"), **fields}
