"""A run's key numbers, as words for a page: one tile each, left out where nobody measured it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tile:
    """A label, a number with its unit, and a line that puts it in relation."""

    label: str
    number: str
    more: str = ""


def tiles(facts: dict[str, Any]) -> list[Tile]:
    """The tiles of a run, given its ``summary``."""
    makers = (_test, _validation, _loss, _wall, _samples, _pace, _exchanges, _bytes)
    found = (maker(facts) for maker in makers)
    return [tile for tile in found if tile is not None]


def _test(facts: dict[str, Any]) -> Tile | None:
    value, best = facts.get("test_accuracy"), facts.get("best_test_accuracy")
    if value is None:
        return None
    return Tile("Test accuracy", _percent(value), f"best {_percent(best)}" if best else "")


def _validation(facts: dict[str, Any]) -> Tile | None:
    value = facts.get("val_accuracy")
    return None if value is None else Tile("Validation accuracy", _percent(value), "held-out tenth")


def _loss(facts: dict[str, Any]) -> Tile | None:
    value = facts.get("train_loss")
    return None if value is None else Tile("Training loss", f"{value:.4g}", "of the workers")


def _wall(facts: dict[str, Any]) -> Tile | None:
    value, first = facts.get("wall_s"), facts.get("first_step_s")
    if value is None:
        return None
    return Tile(
        "Wall time", duration(value), f"first step after {duration(first)}" if first else ""
    )


def _samples(facts: dict[str, Any]) -> Tile | None:
    value = facts.get("samples")
    if value is None:
        return None
    repeated, missed = facts.get("samples_repeated"), facts.get("samples_missed")
    more = [
        f"{count:,} {word}"
        for count, word in ((repeated, "repeated"), (missed, "missed"))
        if count is not None
    ]
    return Tile("Samples", short(value), ", ".join(more))


def _pace(facts: dict[str, Any]) -> Tile | None:
    value, steps = facts.get("samples_per_s"), facts.get("steps")
    if value is None:
        return None
    return Tile("Samples per second", short(value), f"{steps:,} gradient steps" if steps else "")


def _exchanges(facts: dict[str, Any]) -> Tile | None:
    value, late = facts.get("exchanges"), facts.get("exchanges_late")
    if value is None:
        return None
    share = f" ({late / value:.1%})" if late and value else ""
    return Tile("Exchanges", short(value), "" if late is None else f"{late:,} late{share}")


def _bytes(facts: dict[str, Any]) -> Tile | None:
    sent, received = facts.get("bytes_sent"), facts.get("bytes_received")
    if sent is None or received is None:
        return None
    return Tile("Sent by workers", short(sent, "B"), f"{short(received, 'B')} received")


def duration(seconds: float) -> str:
    """``8.25 s``, ``4 min 05 s``, ``3 h 12 min``."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def short(number: float, unit: str = "") -> str:
    """Whole below ten thousand, else three digits and k, M, G, T: ``9,984``, ``1.27 M``."""
    if number < 10_000:
        return f"{number:,.0f} {unit}".rstrip()
    factor, letter = next((f, x) for f, x in _LARGE if number >= f)
    digits = 2 if number < 10 * factor else 1 if number < 100 * factor else 0
    return f"{number / factor:.{digits}f} {letter}{unit}"


_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"
