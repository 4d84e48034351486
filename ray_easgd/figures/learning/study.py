"""The study as a whole: its figures, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray_easgd.data.named import name_of
from ray_easgd.figures.catalog import Figure
from ray_easgd.figures.learning import measures, verdicts
from ray_easgd.figures.learning.cells import Cells, Tell
from ray_easgd.figures.learning.contests import Runs
from ray_easgd.figures.learning.size import Size
from ray_easgd.figures.outcome import Found
from ray_easgd.figures.writing import reproduce

_FOLDER = "learning-cells"


@dataclass(frozen=True, slots=True)
class Study:
    """One of the paper's figures: ``measure`` runs a data set, ``judge`` all that was measured."""

    id: str
    title: str
    measure: Callable[[Cells, str], list[Runs]]
    judge: Callable[[Size, verdicts.Measured], Found]


_ALL = (
    Study("L2", "The communication period (paper, figure 2)", measures.periods, verdicts.periods),
    Study("L3", "The number of workers (paper, figure 3)", measures.workers, verdicts.workers),
    Study(
        "L8",
        "The learning rate (paper, figure 8)",
        measures.learning_rates,
        verdicts.learning_rates,
    ),
    Study(
        "L9",
        "Long periods, and a decaying rate (paper, figure 9)",
        measures.long_periods,
        verdicts.long_periods,
    ),
)

STUDIES = {study.id: study for study in _ALL}


def learn(
    size: Size,
    folder: Path,
    *,
    chosen: Sequence[str] = tuple(STUDIES),
    tell: Tell = lambda line: None,
) -> Iterator[dict[str, Any]]:
    """A verdict a figure, with its files in ``folder``, once all runs are made.

    Each run is kept in a folder there; one that is there already is not made again.
    """
    cells = Cells(size, folder / _FOLDER, tell)
    studies = [STUDIES[name] for name in chosen]
    measured = {
        (study.id, data): study.measure(cells, data) for study in studies for data in size.data
    }
    for study in studies:
        mine = {data: measured[study.id, data] for data in size.data}
        yield reproduce(_figure(study, size, mine), folder)


def _figure(study: Study, size: Size, measured: verdicts.Measured) -> Figure:
    """As the thesis's figures are: something to compute, with parameters that its JSON tells."""

    def compute(**_: Any) -> Found:
        return study.judge(size, measured)

    models = [model if isinstance(model, str) else name_of(model) for model in size.models]
    return Figure(study.id, study.title, "5.4", compute, asdict(size) | {"models": models})
