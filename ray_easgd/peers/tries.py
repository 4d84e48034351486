"""A contender as it is asked for: NAME, or NAME:lr=0.05,period=2 with settings of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ray_easgd.errors import BadInput
from ray_easgd.peers.contenders import CONTENDERS, NAMES, Contender
from ray_easgd.peers.workload import Workload

_FIELD = "--only"
_FORM = "Write NAME, or NAME:lr=0.05,period=2."


@dataclass(frozen=True, kw_only=True)
class Try:
    """One contender with one choice of settings. ``period`` None is everybody's."""

    contender: Contender
    period: int | None = None

    def work(self, common: Workload) -> Workload:
        """What it does of the work that all do."""
        return common if self.period is None else replace(common, period=self.period)


def read_try(text: str) -> Try:
    """The contender of that name, with its ``lr`` and ``period``; its rows are named ``text``.

    BadInput for an unknown name or setting, a value that cannot work, and a period of one who
    has none.
    """
    name, _, settings = text.partition(":")
    if name not in NAMES:
        raise BadInput(_FIELD, text, "there is no such contender", f"Take {', '.join(NAMES)}.")
    contender = next(c for c in CONTENDERS if c.name == name)
    if not settings:
        return Try(contender=contender)
    given = _read(text, settings)
    if "period" in given and not contender.has_period:
        raise BadInput(_FIELD, text, f"{name} has no period to set", "Leave period away.")
    rate = {"lr": given["lr"]} if "lr" in given else {}
    own = replace(contender, name=text, options={**contender.options, **rate})
    return Try(contender=own, period=int(given["period"]) if "period" in given else None)


def _read(text: str, settings: str) -> dict[str, float]:
    kinds = {"lr": float, "period": int}
    given: dict[str, float] = {}
    for setting in settings.split(","):
        key, _, value = setting.partition("=")
        if key not in kinds or key in given:
            known = "it is given twice" if key in given else "a contender has lr and period to set"
            raise BadInput(_FIELD, text, f"{key!r}: {known}", _FORM)
        try:
            given[key] = kinds[key](value)
        except ValueError:
            given[key] = 0
        if not 0 < given[key] < float("inf"):
            kind = "a whole number" if kinds[key] is int else "a number"
            raise BadInput(_FIELD, text, f"{key} = {value!r} is not {kind} above 0", _FORM)
    return given
