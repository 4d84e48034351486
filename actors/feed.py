"""A hub's snapshots, fetched from wherever it put them: plain, or coded against a shared base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from actors.asking import Source
from ray_easgd.link import Snapshot
from ray_easgd.protocol import Version, WireFormat

if TYPE_CHECKING:
    from actors.hub_slice import PublishedCoded
    from ray_easgd.codec import Coded


class Feed:
    """Of one slice. For one thread; what is asked of a hub is fetched from that hub."""

    def __init__(self, part: int, wire_format: WireFormat) -> None:
        self._part = part
        self._format: WireFormat = wire_format
        self._source: Source | None = None
        self._base: tuple[Version, Tensor] | None = None

    def join(self, hub: Any, hello: tuple[Any, ...]) -> Any:
        """Ask to be admitted. No base that was fetched before is this life's."""
        self._turn_to(hub)
        self._base = None
        return hub.join.remote(*hello)

    def pull(self, hub: Any, incarnation: int, showing: int | None) -> Any:
        """Ask for a snapshot, as ``Link.pull`` says."""
        self._turn_to(hub)
        part, form = self._part, self._format
        if showing is not None:
            return hub.pull_shown.remote(incarnation, showing, part, form)
        return hub.pull.remote(part) if form == "float32" else hub.pull_coded.remote(part, form)

    def snapshot(self, answer: Any) -> Snapshot:
        """What the hub answered to ``pull``, with its vector. RayError once that cannot come."""
        if self._format != "float32":
            return self._decoded(answer)
        header, (reference,) = answer
        return Snapshot(header, self.vector(reference))

    def vector(self, reference: Any) -> Tensor:
        """Of shape (n,), read-only. RayError once it cannot come any more."""
        return torch.from_numpy(self._fetched(reference))

    def _turn_to(self, hub: Any) -> None:
        if self._source is None or self._source.hub is not hub:
            self._source = Source(hub)

    def _fetched(self, reference: Any) -> Any:
        assert self._source is not None, "nothing was asked for"
        return self._source.fetched(reference)

    def _decoded(self, answer: PublishedCoded) -> Snapshot:
        """The base is fetched once, and kept until the hub has a newer one."""
        from ray_easgd.codec import decode_onto

        num_bytes = 0
        if self._base is None or self._base[0] != answer.base:
            self._base = answer.base, self.vector(answer.base_ref[0])
            num_bytes = self._base[1].nbytes
        base = self._base[1]
        if not answer.coded:
            return Snapshot(answer.header, base, num_bytes)
        coded: Coded = self._fetched(answer.coded[0])
        return Snapshot(answer.header, decode_onto(base, coded), num_bytes + coded.nbytes)
