"""What each figure runs, on one data set. Runs that two figures share are made once."""

from __future__ import annotations

from ray_easgd.figures.learning.cells import Cells
from ray_easgd.figures.learning.contests import Contestant, Runs, run, tuned

FLEETS = ("easgd", "eamsgd", "downpour")
ELASTIC = ("easgd", "eamsgd")


def periods(cells: Cells, data: str) -> list[Runs]:
    """Figure 2: every method at every period, with the fewest workers; and MSGD."""
    size = cells.size
    return [tuned(cells, Contestant(data=data, method="msgd"))] + [
        tuned(cells, Contestant(data=data, method=name, workers=size.workers[0], period=period))
        for period in size.periods
        for name in FLEETS
    ]


def workers(cells: Cells, data: str) -> list[Runs]:
    """Figure 3: elastic methods at one period and DOWNPOUR at 1, by the number of workers."""
    size = cells.size
    return [tuned(cells, Contestant(data=data, method="msgd"))] + [
        tuned(cells, _usual(cells, data, name, p)) for p in size.workers for name in FLEETS
    ]


def learning_rates(cells: Cells, data: str) -> list[Runs]:
    """Figure 8: each learning rate of the grid, of both elastic methods and the fewest workers."""
    size = cells.size
    return [
        run(cells, who, lr=lr, steps=size.steps)
        for who in (_usual(cells, data, name, size.workers[0]) for name in ELASTIC)
        for lr in who.rates(size.grid)
    ]


def long_periods(cells: Cells, data: str) -> list[Runs]:
    """Figure 9: long runs at the learning rate best in short ones; EAMSGD with decay too."""
    size, p, found = cells.size, cells.size.workers[0], list[Runs]()
    for name, decay in (("easgd", 0.0), ("eamsgd", 0.0), ("eamsgd", size.decay)):
        lr = tuned(cells, _usual(cells, data, name, p)).lr
        for period in size.long_periods:
            who = Contestant(data=data, method=name, workers=p, period=period)
            found.append(run(cells, who, lr=lr, steps=size.long_steps, decay=decay))
    return found


def _usual(cells: Cells, data: str, method: str, p: int) -> Contestant:
    period = 1 if method == "downpour" else cells.size.period
    return Contestant(data=data, method=method, workers=p, period=period)
