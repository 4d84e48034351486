"""Text as a page may hold it: markup and what cannot be shown made harmless."""

from __future__ import annotations

import html
import math


def text(words: object) -> str:
    """For HTML and SVG, between tags or in a quoted attribute."""
    shown = (c if c.isprintable() or c in "\n\t" else "\ufffd" for c in str(words))
    return html.escape("".join(shown))


def shortened(words: str, most: int) -> str:
    """At most so many characters, an ellipsis where the middle is left out."""
    if len(words) <= most:
        return words
    half = (most - 1) // 2
    return f"{words[: most - 1 - half]}…{words[-half:]}"


def number(value: float, form: str = "") -> str:
    """Three digits, or as ``form`` says; a dash where there is nothing to say."""
    if not math.isfinite(value):
        return "-"
    return format(value, form or (",.0f" if 1e3 <= abs(value) < 1e7 else ".3g"))


def count(number: int, noun: str) -> str:
    """``1 worker``, ``4 workers``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def listed(names: list[str], most: int = 4) -> str:
    """``a, b and c``; of many only the first few."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""
