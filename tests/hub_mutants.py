"""The rules by which a push counts once, each taken out: some history must notice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ray_easgd.child import Child
from ray_easgd.hub import Hub
from ray_easgd.link import Snapshot
from ray_easgd.protocol import Outcome, PushHeader
from tests.histories import Mutant

HUB: Any = Hub
MOVE, JUDGE, RECOVERED, SNAPSHOT = HUB._move, HUB._judge, HUB.recovered, HUB.snapshot
HEADER: Any = HUB.header


def of_the_hub(rule: str, name: str, instead: Callable[..., Any]) -> Mutant:
    return Mutant(rule, Hub, name, instead)


def move_if_fresh(self: Any, d: Any, arrival: Any) -> None:
    if not arrival.staleness:
        MOVE(self, d, arrival)


def taken(outcome: Outcome) -> Callable[..., Outcome]:
    """What is judged so is taken in like any other."""

    def judge(self: Any, header: PushHeader, staleness: int) -> Outcome:
        found: Outcome = JUDGE(self, header, staleness)
        if found is Outcome.REFUSED and header.incarnation not in self._applied:
            return found
        return Outcome.APPLIED if found is outcome else found

    return judge


def judge_the_dead(self: Any, header: PushHeader, staleness: int) -> Outcome:
    living, self._living = self._living, dict.fromkeys(self._applied, "w")
    found: Outcome = JUDGE(self, header, staleness)
    self._living = living
    return found


def recovered_with(**changed: Callable[..., Any]) -> Any:
    """The successor is told otherwise than it was."""

    def recovered(
        cls: Any,
        options: Any,
        snapshot: Snapshot,
        layout: Any,
        children: Mapping[int, str],
        *,
        epoch: int,
        born: int,
    ) -> Hub:
        if "snapshot" in changed:
            snapshot = changed["snapshot"](snapshot)
        born = changed["born"](children) if "born" in changed else born
        hub: Hub = RECOVERED(options, snapshot, layout, children, epoch=epoch, born=born)
        return hub

    return classmethod(recovered)


def without_applied(snapshot: Snapshot) -> Snapshot:
    return Snapshot(replace(snapshot.header, applied={}), snapshot.vector)


def retain_nothing(self: Any, header: PushHeader, d: Any) -> None:
    self.sequence = header.sequence


def retain_the_last(self: Any, header: PushHeader, d: Any) -> None:
    self.sequence = header.sequence
    self.retained.clear()
    self.retained.append((header, d))


def one_more_is_shown(self: Any, snapshot: Any) -> None:
    last = snapshot.applied.get(self.incarnation, 0)
    while self.retained and self.retained[0][0].sequence <= last + 1:
        self.retained.popleft()


HUB_MUTANTS = [
    of_the_hub("what is acknowledged is in the center", "_move", move_if_fresh),
    of_the_hub("a push counts once", "_judge", taken(Outcome.DUPLICATE)),
    of_the_hub("nothing is passed over", "_judge", taken(Outcome.GAP)),
    of_the_hub("the dead are refused", "_judge", judge_the_dead),
    of_the_hub("the dismissed are dead", "dismiss", lambda self, life, *, lost=False: None),
    of_the_hub(
        "a snapshot is a copy", "snapshot", lambda self: Snapshot(self.header(), self.vector)
    ),
    of_the_hub(
        "and so is what it shows",
        "header",
        lambda self: replace(HEADER(self), applied=self._applied),
    ),
    of_the_hub(
        "a successor knows what was applied",
        "recovered",
        recovered_with(snapshot=without_applied),
    ),
    of_the_hub(
        "a successor gives no number again",
        "recovered",
        recovered_with(born=max),
    ),
    Mutant("a child keeps what it sends", Child, "retain", retain_nothing),
    Mutant("all of it", Child, "retain", retain_the_last),
    Mutant("until a snapshot shows it", Child, "shown", lambda self, _: self.retained.clear()),
    Mutant("and not the next one", Child, "shown", one_more_is_shown),
]
