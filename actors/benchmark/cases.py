"""Which rows ``benchmark exchange`` measures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ray_easgd.errors import BadInput
from ray_easgd.protocol import WireFormat

if TYPE_CHECKING:
    from actors.links import Transport

SHARED_MEMORY: Final = "shared_memory"
OBJECT_STORE: Final = "object_store"
FLOAT32: Final = "float32"
CODED: Final = ("bfloat16", "int8")

SIZES = (100_000, 2_700_000, 25_000_000)
FLEETS = (1, 4)
LINK_SIZE = CODED_SIZE = 2_700_000
"""Parameters of the rows over a link, and of those in a coded format."""

_EXCHANGES = 1_000
_LINK_EXCHANGES = 24
_FEWEST_EXCHANGES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One row: ``n`` float32 parameters, exchanged by ``workers`` with one hub.

    ``exchanges``: how many all workers together make, a tenth of them to warm up.
    """

    transport: Transport
    format: WireFormat
    n: int
    workers: int
    exchanges: int

    def __str__(self) -> str:
        return f"{self.transport} {self.format} n={self.n:,} workers={self.workers}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What the user asked for; an empty one leaves the choice to us."""

    sizes: Sequence[int] = ()
    workers: Sequence[int] = ()
    transports: Sequence[Transport] = ()
    formats: Sequence[WireFormat] = ()
    exchanges: int | None = None


def choose_cases(choice: Choice) -> list[Case]:
    """The rows on one machine. Shared memory has one format, the vector's own float32.

    Unless formats are named, coded ones are measured at one size only: on one machine they cost
    more than they save, and are there to be compared with that size over a link.
    """
    cases = [
        _case(choice, transport, wire_format, n, workers)
        for n in choice.sizes or SIZES
        for workers in choice.workers or FLEETS
        for transport in choice.transports or (SHARED_MEMORY, OBJECT_STORE)
        for wire_format in choice.formats or _formats(n)
        if transport == OBJECT_STORE or wire_format == FLOAT32
    ]
    if not cases:
        raise BadInput(
            "--format",
            ", ".join(choice.formats),
            "shared memory exchanges the vector itself, in float32",
            f"Take --transport {OBJECT_STORE}, or --format {FLOAT32}.",
        )
    return cases


def choose_link_cases(choice: Choice) -> list[Case]:
    """The rows over a capped link: one worker, which fills the line by itself."""
    if SHARED_MEMORY in choice.transports:
        raise BadInput(
            "--transport",
            SHARED_MEMORY,
            "a link has its ends on two nodes, which share no memory",
            f"Take --transport {OBJECT_STORE}, or leave --link away.",
        )
    if set(choice.workers) - {1}:
        raise BadInput(
            "--workers",
            ", ".join(map(str, choice.workers)),
            "one worker fills the link by itself",
            "Leave it away, or leave --link away.",
        )
    return [
        _case(choice, OBJECT_STORE, wire_format, n, 1, default=_LINK_EXCHANGES)
        for n in choice.sizes or (LINK_SIZE,)
        for wire_format in choice.formats or (FLOAT32, *CODED)
    ]


def line_rate(rate: str) -> float:
    """Bytes per second of a rate as ``tc`` writes it: ``100mbit``, ``12.5mbps``, ``1gibit``.

    There ``bit`` counts bits and ``bps`` counts bytes, per second; a bare number counts bits.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:([kmgt]?)(i?)(bit|bps))?", rate.strip().lower())
    if not found or not float(found[1]):
        raise BadInput(
            "--link", rate, "this is no rate that tc reads", "Write it as in 100mbit or 1gbit."
        )
    number, prefix, binary, unit = found.groups(default="")
    base = 1024 if binary else 1000
    power = " kmgt".index(prefix or " ")
    return float(number) * float(base**power) / (1 if unit == "bps" else 8)


def _case(
    choice: Choice,
    transport: Transport,
    wire_format: WireFormat,
    n: int,
    workers: int,
    *,
    default: int | None = None,
) -> Case:
    return Case(
        transport=transport,
        format=wire_format,
        n=n,
        workers=workers,
        exchanges=choice.exchanges or default or _default_exchanges(n),
    )


def _formats(n: int) -> tuple[WireFormat, ...]:
    return (FLOAT32, *CODED) if n == CODED_SIZE else (FLOAT32,)


def _default_exchanges(n: int) -> int:
    """1,000; fewer of the largest vectors, so that those move no more bytes than the others."""
    return max(_FEWEST_EXCHANGES, min(_EXCHANGES, _EXCHANGES * CODED_SIZE // n))
