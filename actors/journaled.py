"""An edge that writes down what goes over it: before a push leaves, and when its answer is here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from actors.links import HubLink
from ray_easgd.config import Config
from ray_easgd.journal import Journal
from ray_easgd.kernels import Checksum
from ray_easgd.link import Snapshot
from ray_easgd.parameters import Slot
from ray_easgd.protocol import PushHeader, PushReply
from ray_easgd.wire import Payload, decoded


def open_journal(config: Config, who: str) -> Journal | None:
    """This process's, where the run keeps any."""
    return Journal(config.run.journal, who) if config.run.journal else None


def journaled(journal: Journal | None, seed: int) -> Callable[..., HubLink] | None:
    """The kind of edge for ``open_link``. ``seed`` is the ledger's."""
    return None if journal is None else partial(JournaledLink, journal, seed)


class JournaledLink(HubLink):
    """What it writes is all that the audit of a run believes (``ray_easgd/audit.py``)."""

    def __init__(self, journal: Journal, seed: int, *edge: Any, **how: Any) -> None:
        self._journal, self._seed = journal, seed
        super().__init__(*edge, **how)

    def leave(self) -> None:
        intervals = [[i.epoch, i.start, i.stop] for i in self.untold]
        self._write("left", self.incarnation, progress=intervals)
        super().leave()

    def _join(
        self, vector: np.ndarray, layout: tuple[Slot, ...], ledger_seed: int | None
    ) -> tuple[int, Snapshot]:
        incarnation, snapshot = super()._join(vector, layout, ledger_seed)
        start = torch.from_numpy(np.array(snapshot.vector))  # the store's own is read-only
        self._write(
            "joined",
            incarnation,
            version=_pair(snapshot.header.version),
            start=Checksum(start.numel(), self._seed)(start),
            size=start.numel(),
            in_memory=self.in_memory,
        )
        return incarnation, snapshot

    def _send(self, header: PushHeader, d: Payload) -> PushReply:
        self._write(
            "sent",
            header.incarnation,
            sequence=header.sequence,
            checksum=header.checksum,
            norm=float(decoded(d).norm()),
            progress=[[i.epoch, i.start, i.stop] for i in header.progress],
        )
        reply = super()._send(header, d)
        self._write(
            "answered",
            header.incarnation,
            sequence=header.sequence,
            outcome=reply.outcome.value,
            version=_pair(reply.version),
        )
        return reply

    def _write(self, kind: str, life: int, **values: object) -> None:
        self._journal.write(kind, hub=self.hub_name, life=life, **values)


def _pair(version: Any) -> list[int]:
    return [version.epoch, version.count]
