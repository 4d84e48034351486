"""Does to a run what a bad day does: kills, stops and drains its processes, one after the other.

It finds them by their journals and by Ray's table of actors, and believes no word of the run's.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any

import numpy as np
import ray
from ray._private.state import actors as actor_table  # the one that tells process ids
from ray.exceptions import RayError

from actors.draining import drain_node
from actors.local_nodes import LocalNode, start_node
from ray_easgd.errors import EasgdError
from ray_easgd.incidents import Incident, Process
from ray_easgd.journal import Entry, Journals
from ray_easgd.processes import is_alive
from ray_easgd.protocol import PushHeader, Version

_LOOK_EVERY_S = 0.1
_BACK_WITHIN_S = 120.0  # more than a node and a fresh process need; then it is called lost
_DRAIN_S = 30.0


class NotBack(EasgdError):
    """What was taken away has not come back."""


class Tormentor:
    """Carries out a plan of faults (``incidents.KINDS``) while a run is going on.

    ``nodes`` are those it may take away; ``stop_s`` is how long a worker is stopped. With ``stops``
    the run is asked to end when the plan is done. ``late`` and ``doubled`` are the outcomes of the
    pushes that it sent once more, in the name of others.
    """

    def __init__(
        self,
        run: str,
        plan: Sequence[str],
        *,
        journals: Journals,
        nodes: list[LocalNode],
        num_workers: int,
        num_cpus: float,
        stop_s: float,
        has_spares: bool,
        stops: bool,
        seed: int,
        tell: Callable[[str], None],
    ) -> None:
        self.incidents: list[Incident] = []
        self.late: list[str] = []
        self.doubled: list[str] = []
        self._run, self._plan, self._journals, self._nodes = run, plan, journals, nodes
        self._wanted, self._num_cpus, self._stop_s = num_workers, num_cpus, stop_s
        self._has_spares, self._stops = has_spares, stops
        self._chance, self._tell = random.Random(seed), tell
        self._struck_at = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._torment, name="torment", daemon=True)

    def begin(self) -> None:
        """From now on, in a thread of its own."""
        self._thread.start()

    def end(self) -> None:
        """The run is over: nothing is waited for any more."""
        self._over.set()
        self._thread.join()

    # -- the plan --------------------------------------------------------------------------

    def _torment(self) -> None:
        try:
            self._wait(lambda: self._are_all_back(0.0), "the run did not get under way")
            for kind in self._plan:
                self._inflict(kind)
        except (EasgdError, RayError, OSError, _Ended) as end:
            if not self._over.is_set():
                self._tell(f"chaos: no more faults: {end}")
        with suppress(RayError, ValueError):  # it may be over already
            if self._stops and not self._over.is_set():
                ray.get(self._controller().stop.remote())

    def _inflict(self, kind: str) -> None:
        """One fault, until all is well again."""
        self._struck_at = at = time.time()
        cleared_at, victim, touched, failed = 0.0, "", frozenset[Process](), ""
        try:
            self._wait(self._is_spare_ready, f"no spare got ready before {kind}")
            victim, touched, is_back = getattr(self, f"_{kind}")()
            self._tell(f"chaos: {kind} of {victim}")
            at = self._struck_at
            self._wait(is_back, f"{victim} did not come back after {kind}")
            cleared_at = time.time()
            self._wait(lambda: self._are_all_back(cleared_at), f"not all step again after {kind}")
            self._replay(touched)
        except NotBack as error:
            failed = str(error)
            self._tell(f"chaos: {failed}")
        now = time.time()
        self.incidents.append(
            Incident(
                kind=kind,
                victim=victim,
                at=at,
                cleared_at=cleared_at or now,
                back_at=now,
                touched=touched,
                failed=failed,
            )
        )

    def _wait(self, happened: Callable[[], bool], why_not: str) -> None:
        give_up_at = time.monotonic() + _BACK_WITHIN_S
        while not happened():
            if self._over.wait(_LOOK_EVERY_S):
                raise _Ended("the run is over")
            if time.monotonic() > give_up_at:
                raise NotBack(f"{why_not} within {_BACK_WITHIN_S:g} s")

    # -- faults: each gives its victim, the workers it touches, and how to tell that it is over ----

    def _worker_kill(self) -> _Struck:
        who, pid = self._chance.choice(self._workers())
        self._strike(pid, signal.SIGKILL)
        return who, frozenset({(who, pid)}), lambda: self._has("step", who)

    def _worker_stop(self) -> _Struck:
        who, pid = self._chance.choice(self._workers())
        self._over.wait(self._stop_s)  # undisturbed, to compare with
        self._strike(pid, signal.SIGSTOP)
        self._tell(f"chaos: {who} is stopped for {self._stop_s:g} s")
        self._over.wait(self._stop_s)
        os.kill(pid, signal.SIGCONT)
        return who, frozenset({(who, pid)}), lambda: True

    def _aggregator_kill(self) -> _Struck:
        who, pid = self._chance.choice(self._living("aggregator"))
        self._strike(pid, signal.SIGKILL)
        gone: frozenset[Process] = frozenset({(who, pid)})
        return who, gone, lambda: self._has("joined", who)

    def _center_kill(self) -> _Struck:
        epoch = self._epoch()
        self._strike(self._pid_of(self._census().centers[0]), signal.SIGKILL)
        return "center", frozenset(), lambda: self._epoch() > epoch

    def _controller_kill(self) -> _Struck:
        pid = self._pid_of(self._controller())
        self._strike(pid, signal.SIGKILL)

        def is_back() -> bool:  # and the driver has told it what it has to know
            lives = self._pid_of(self._controller()) not in {0, pid}
            return lives and bool(self._census().centers)

        return "controller", frozenset(), is_back

    def _node_loss(self) -> _Struck:
        node = self._nodes.pop(self._chance.randrange(len(self._nodes)))
        touched = self._on(node)
        self._struck_at = time.time()
        node.kill()
        return self._renewed(node, touched)

    def _drain(self) -> _Struck:
        node = self._nodes.pop(self._chance.randrange(len(self._nodes)))
        touched = self._on(node)
        self._struck_at = time.time()
        drain_node(node.id, message="chaos", deadline_s=_DRAIN_S)
        workers = [pid for who, pid in touched if who.startswith("worker")]
        self._wait(
            lambda: not any(map(is_alive, workers)),
            f"workers stayed on node {node.id[:8]}, which drains,",
        )
        node.kill()
        return self._renewed(node, touched)

    def _join(self) -> _Struck:
        known = set(self._workers())
        return self._scaled(1, lambda: bool(set(self._workers()) - known))

    def _leave(self) -> _Struck:
        return self._scaled(-1, lambda: len(self._workers()) <= self._wanted)

    def _scaled(self, by: int, is_over: Callable[[], bool]) -> _Struck:
        touched = frozenset(self._workers()) if by < 0 else frozenset()
        self._wanted += by
        self._struck_at = time.time()
        ray.get(self._controller().scale.remote(self._wanted))
        return f"{self._wanted} workers", touched, is_over

    def _renewed(self, node: LocalNode, touched: frozenset[Process]) -> _Struck:
        self._nodes.append(start_node(self._num_cpus))
        at = self._struck_at
        return f"node {node.id[:8]}", touched, lambda: self._are_all_back(at)

    def _strike(self, pid: int, how: signal.Signals) -> None:
        self._struck_at = time.time()
        os.kill(pid, how)

    # -- what the network may do: bring a push late, or twice ------------------------------------

    def _replay(self, touched: frozenset[Process]) -> None:
        """The dead's next push, which arrives now; and a living child's last one, once more."""
        for who, pid in touched:
            if not is_alive(pid) and (joined := self._last("joined", who, pid)) is not None:
                self._push_again(joined, 1, self.late)
        living = [e for e in self._entries("answered") if is_alive(e.pid)]
        if living and living[-1].values["outcome"] == "applied":
            joined = self._last("joined", living[-1].who, living[-1].pid)
            if joined is not None and joined.values["life"] == living[-1].values["life"]:
                self._push_again(joined, 0, self.doubled)

    def _push_again(self, joined: Entry, ahead: int, outcomes: list[str]) -> None:
        census, values = self._census(), joined.values
        hubs = {"center": census.centers[0], **{hub.name: hub.handle for hub in census.hubs}}
        begun = [e.at for e in self._entries("joined") if e.who == values["hub"]]
        if (hub := hubs.get(values["hub"])) is None or max(begun, default=0.0) > joined.at:
            return  # another process holds that name: what was sent to the old one is lost with it
        life = values["life"]
        try:
            if ahead:  # its end has to be known there, or it is not late
                self._wait(
                    lambda: life not in _get(hub.status.remote()).children,
                    f"{values['hub']} does not learn that {joined.who} is gone",
                )
            there = {"hub": values["hub"], "life": life}
            known = self._entries("sent", **there) if ahead else self._applied(**there)
            header = PushHeader(
                incarnation=life,
                sequence=max((e.values["sequence"] for e in known), default=0) + ahead,
                computed_from=Version(*values["version"]),
                steps=1,
            )
            d = np.ones(values["size"], np.float32)
            outcomes.append(_get(hub.push.remote(header, d, 0)).outcome.value)
        except RayError:
            return  # that hub is gone meanwhile

    def _applied(self, **there: object) -> list[Entry]:
        """What a child was told has been applied: surely there, whatever is under way."""
        return self._entries("answered", outcome="applied", **there)

    # -- who is there ----------------------------------------------------------------------

    def _are_all_back(self, since: float) -> bool:
        """Whether as many as are wanted have stepped, and exchanges have gone on, since then."""
        stepped = {e.who for e in self._lately("step", since) if is_alive(e.pid)}
        answered = any(e.values["hub"] == "center" for e in self._lately("answered", since))
        return len(stepped) >= self._wanted and answered

    def _workers(self) -> list[Process]:
        return self._living("worker")

    def _is_spare_ready(self) -> bool:
        """Whether a process with its imports done waits for a seat: a run has one, mostly."""
        if not self._has_spares:
            return True
        seated = {pid for _, pid in self._workers()}
        return any(pid not in seated for _, pid in self._living("spare"))

    def _living(self, prefix: str) -> list[Process]:
        """Those at work whose names begin so."""
        self._journals.look()
        latest = self._journals.latest.items()
        here = [p for p, last in latest if p[0].startswith(prefix) and last.kind != "left"]
        return sorted(process for process in here if is_alive(process[1]))

    def _on(self, node: LocalNode) -> frozenset[Process]:
        """All children of hubs on that node."""
        here = {row["Pid"] for row in self._table() if row["Address"]["NodeID"] == node.id}
        found = [*self._living("worker"), *self._living("aggregator")]
        return frozenset(process for process in found if process[1] in here)

    def _epoch(self) -> int:
        answers = self._entries("answered", hub="center")
        return max((e.values["version"][0] for e in answers), default=0)

    def _has(self, kind: str, who: str) -> bool:
        """Whether that one's journal says so since it was struck."""
        return any(e.who == who for e in self._lately(kind, self._struck_at))

    def _last(self, kind: str, who: str, pid: int) -> Entry | None:
        found = [e for e in self._entries(kind) if (e.who, e.pid) == (who, pid)]
        return found[-1] if found else None

    def _entries(self, kind: str, **values: object) -> list[Entry]:
        self._journals.look()
        known = self._journals.entries.get(kind, [])
        return [e for e in known if all(e.values.get(k) == v for k, v in values.items())]

    def _lately(self, kind: str, since: float) -> list[Entry]:
        """After that moment; journals come in one after the other, a second is room enough."""
        self._journals.look()
        newest_first = reversed(self._journals.entries.get(kind, []))
        window = takewhile(lambda e: e.at > since - 1.0, newest_first)
        return [e for e in window if e.at > since]

    def _controller(self) -> Any:
        return ray.get_actor(f"{self._run}:controller")

    def _census(self) -> Any:
        return ray.get(self._controller().census.remote())

    def _table(self) -> list[dict[str, Any]]:
        alive = [row for row in actor_table().values() if row["State"] == "ALIVE"]
        return [row for row in alive if row["Name"].startswith(f"{self._run}:")]

    def _pid_of(self, handle: Any) -> int:
        """0 while it has none."""
        row = actor_table(handle._actor_id.hex())  # noqa: SLF001  (there is no other way)
        return int(row["Pid"]) if row and row["State"] == "ALIVE" else 0


class _Ended(Exception):
    """The run is over before the plan is."""


_Struck = tuple[str, frozenset[Process], Callable[[], bool]]


def _get(answer: Any) -> Any:
    """Of one call; Ray types what comes of an unknown reference as a list."""
    return ray.get(answer)
