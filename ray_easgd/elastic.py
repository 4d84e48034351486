"""The elastic tie of one worker: what happens at each of its step boundaries.

Nothing here blocks. A pull begins shortly before an exchange is due, so that the center is fresh;
if it has not arrived, or two pushes are still unconfirmed, the worker steps on and exchanges at the
first boundary after (``exchanges_late``). Methods in rounds alone make a worker wait (``waiting``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ray_easgd.algorithms.steps import LocalStep
from ray_easgd.apart import Difference, difference
from ray_easgd.child import Child
from ray_easgd.elastic_options import ElasticCounts, ElasticOptions
from ray_easgd.freight import Freight
from ray_easgd.in_place import meet, read_center
from ray_easgd.intake import Intake
from ray_easgd.kernels import Checksum
from ray_easgd.link import Link, Snapshot
from ray_easgd.parameters import ParameterVector
from ray_easgd.ports import DataBook, NoData, Reporter
from ray_easgd.protocol import Intervals, Outcome, PushHeader, PushReply
from ray_easgd.staging import staging_for
from ray_easgd.telling import Telling, is_number
from ray_easgd.wire import Payload, decoded

_MOST_TRIES = 10  # exchanges to bring the last steps to the hub


class Elastic:
    """One worker's tie to its hub. ``step()`` after each optimizer step is all a loop needs.

    ``data`` keeps the book on the data behind its steps (``Session``). ``stays``: it begins where
    its vector is, not at the center.
    """

    def __init__(
        self,
        vector: ParameterVector,
        link: Link,
        options: ElasticOptions,
        reporter: Reporter,
        *,
        name: str = "worker",
        local_step: LocalStep | None = None,
        data: DataBook | None = None,
        stays: bool = False,
    ) -> None:
        self.vector, self.link, self.options = vector, link, options
        self.name, self.clock, self.counts = name, 0, ElasticCounts()
        self._local_step, self._freight = local_step, Freight(data or NoData())
        self._exchange = options.algorithm.exchange
        self._answered = self._exchange.answered
        self._staging = staging_for(vector.flat.device)
        seed = options.ledger_seed
        self._checksum = None if seed is None else Checksum(vector.flat.numel(), seed)
        self._told = Telling(reporter, name, conserves=options.algorithm.conserves == "sum")
        self._was_late, self._rounds = False, options.algorithm.rounds
        self._pending: Tensor | None = None  # a displacement that at_snapshot applies later
        self._residual: Tensor | None = None  # what rounding left of the last difference
        self.intake = Intake(link, self._staging, options.lead, options.period)
        self._join(stays=stays)
        self.proceed()

    def step(self, loss: Tensor | float | None = None) -> None:
        """A step boundary: exchange if one is due. ``loss`` is only watched and reported.

        In rounds it may be ``waiting`` afterwards: then it takes no step until it no longer is.
        """
        self.clock += 1
        self._told.add_loss(loss)
        if self._pending is not None:
            self._move_by(self._pending)
        if self.clock >= self._due or self.link.desk is None:
            self.proceed()

    @property
    def waiting(self) -> bool:
        """Whether the worker has to wait for others before its next step; only in rounds."""
        return self._rounds != "none" and (self._unanswered is not None or self.clock >= self._due)

    @torch.no_grad()
    def proceed(self) -> None:
        """Go on with what has arrived. Blocks only to join a hub's successor."""
        if self.link.orphaned:
            self._begin_new_life(is_known=False)
        if self.link.desk is not None:
            if self.clock >= self._due:
                self._meet_in_place()
            return
        self._collect()
        self._ask_if_time()
        self._collect()
        self._take_answer()
        if self.clock >= self._due:
            self._exchange_if_ready()
        self._ask_if_time()

    def hurry(self) -> None:
        """Let the next exchange be due now."""
        self._due = self.clock
        self.proceed()

    @property
    def looks_at(self) -> int:
        """The clock at which there is something to do here, unless something arrives before."""
        return self._due - self.intake.lead if self.intake.idle else self._due

    def has_told(self, clock: int) -> bool:
        """Whether the hub has confirmed what was done up to ``clock``."""
        return self._freight.pushed_at >= clock and not self.link.busy

    def settle(self) -> None:
        """Block until the worker is no longer ``waiting``. Learns of the hub's death."""
        while self.waiting:
            self.link.drain()
            self.proceed()

    def reattach(self) -> None:
        """The hub has a successor: ask again, and send again what no snapshot has shown."""
        self.intake.drop()
        self._child.send_again(self.link.push)
        self.proceed()

    def finish(self) -> None:
        """The last exchange, and goodbye. Waits for the hub alone, and learns of its death."""
        self.flush()
        self.link.leave()

    @torch.no_grad()
    def flush(self) -> None:
        """Bring everything done so far to the center, and wait until it has it."""
        (self._flush_messages if self.link.desk is None else self._flush_in_place)()
        if not self.link.orphaned:
            self.link.pass_up()
        if self.link.orphaned:  # once more, under the successor
            self.proceed()
            self.flush()

    def _flush_messages(self) -> None:
        """Data of pushes that came too late for ``max_staleness`` each time is given back."""
        for _ in range(_MOST_TRIES):
            self._push_the_rest()
            if not self._freight.owes or self.link.orphaned:
                return
        self._freight.drop(self.clock)

    def _push_the_rest(self) -> None:
        free = self._rounds == "none"
        self.settle()
        self.link.drain(pulls=free)
        self._collect()
        self._take_answer()
        if not self._freight.is_empty(self.clock):
            self._due = self.clock
            if free and not self._answered:
                self.link.pull()
                self.link.drain()
                self._collect()
            self._exchange_if_ready()
            if not self._answered:
                self.settle()
            self.link.drain(pulls=free)
        while self._collect():
            self.link.drain(pulls=free)

    def _flush_in_place(self) -> None:
        """Data that found every stripe busy each time, its holder being stopped, is given back."""
        for _ in range(_MOST_TRIES):
            self.link.drain()
            desk = self.link.desk
            if self._freight.is_empty(self.clock) and (desk is None or desk.is_told):
                return
            self._meet_in_place()
        if self.link.desk is not None:
            self._freight.give_back(self.link.desk.withdraw()[1])

    def _join(self, *, stays: bool = False) -> None:
        x = self.vector.flat
        self.incarnation, snapshot = self.link.join(
            x.detach().cpu(), self.vector.layout, ledger_seed=self.options.ledger_seed
        )
        self._child = Child(self.incarnation)
        if not stays:
            x.copy_(snapshot.vector)
        self._state = self._exchange.begin(x)
        self.intake.begin(snapshot, self.clock)
        self._unanswered: Tensor | None = None
        self._due = self.options.due_after(self.clock)
        if self._rounds == "together" and not self._answered:
            self.intake.keep(snapshot)
        elif self._rounds == "in_turn" and self._answered:
            self._unanswered = torch.zeros_like(x)  # no step before its first turn
        elif self._rounds == "in_turn":
            self._due = self.clock

    def _ask_if_time(self) -> None:
        """Begin the pull: late enough to be fresh and early enough to be there in time. One that
        has to show our last push is asked for as soon as that has left."""
        if self._unanswered is not None or (self._rounds != "none" and not self._answered):
            self.intake.ask(self.clock, showing=self._child.sequence)
        elif not self._answered and self.clock >= self._due - self.intake.lead:
            self.intake.ask(self.clock)

    def _collect(self) -> bool:
        """Take in what the background has brought, without waiting; whether pushes went again."""
        misses = False
        if (snapshot := self.intake.arrived(self.clock)) is not None:
            if self._is_wanted(snapshot):
                self.intake.keep(snapshot)
            self._child.shown(snapshot.header)
            self.counts.bytes_received += snapshot.num_bytes
        for reply in self.link.replies():
            if reply.outcome is Outcome.APPLIED:
                self._applied(reply)
            elif reply.outcome is Outcome.GAP and self._child.can_fill(reply.sequence):
                misses = True
            elif reply.outcome is Outcome.STALE:
                self._take_back(reply)
            elif reply.outcome in (Outcome.REFUSED, Outcome.GAP):
                self._begin_new_life(is_known=reply.outcome is Outcome.REFUSED)
                return False
        return misses and self._child.send_again(self.link.push)  # once, however many it misses

    def _is_wanted(self, snapshot: Snapshot) -> bool:
        """Not what was asked for by an earlier life, where an answer has to show our last push."""
        if self._rounds == "none" and not self._answered:
            return True
        return snapshot.header.applied.get(self.incarnation, -1) >= self._child.sequence

    def _applied(self, reply: PushReply) -> None:
        self._told.stale(self.clock, reply.staleness)

    def _take_back(self, reply: PushReply) -> None:
        """The hub will not have so old a difference: ``x`` has it again, and pulls first."""
        for header, d in self._child.take_back(reply.sequence):
            self.vector.flat.add_(decoded(d).to(self.vector.flat.device))
            self._freight.take_back(header.steps, header.progress)
            self.counts.moves += 1
        self.intake.fresh, self._due = None, self.clock
        self._told.too_stale(self.clock, reply.staleness)

    def _is_there(self) -> bool:
        return self._unanswered is None if self._answered else self.intake.fresh is not None

    def _exchange_if_ready(self) -> None:
        if not self._is_there() or self.link.busy or not self._child.may_push:
            self.counts.exchanges_late += not self._was_late and self._rounds == "none"
            self._was_late = True
            if self.intake.fresh is not None and not self._child.may_push:
                self.intake.fresh = None  # only a newer snapshot can show the pushes outstanding
            return
        self._was_late, self._due = False, self.options.due_after(self.clock)
        if self.intake.fresh is not None:
            self.intake.take_in(self.clock)
        self._meet()

    def _take_answer(self) -> None:
        """The center that shows our last push: where an ``answered`` exchange moves ``x``."""
        if self.intake.fresh is not None and self._unanswered is not None:
            self.intake.take_in(self.clock)
            d, self._unanswered = self._unanswered, None
            self._move(d)

    def _meet(self) -> None:
        """One exchange against the snapshot held: compute ``d``, send it, move."""
        rate, options = self.intake.held.header.moving_rate, self.options
        loss = self._told.take_loss()
        found = None
        if is_number(loss):
            x, c, wire = self.vector.flat, self.intake.center, options.wire_format
            staging, now = self._staging, options.order == "between_steps"
            found = difference(
                self._exchange, x, c, self._state, rate, staging, wire_format=wire, may_move=now
            )
        if found is None:
            self._start_again()
            return
        self._send(found.payload)
        self._residual = found.residual
        self._follow(found)
        self._told.exchanged(self.clock, loss, found.norm, rate)

    def _follow(self, sent: Difference) -> None:
        """What is sent moves ``x`` too, now or once the center shows it."""
        if sent.has_moved:
            self.counts.moves += 1
        elif self._answered:
            self._unanswered = sent.d
            self._ask_if_time()
            self._collect()
            self._take_answer()
        else:
            self._move(sent.d)

    def _meet_in_place(self) -> None:
        """One exchange in the hub's own memory: nothing is sent, and nothing can be late."""
        desk, x = self.link.desk, self.vector.flat
        assert desk is not None
        self._due = self.options.due_after(self.clock)
        loss = self._told.take_loss()
        if not is_number(loss):
            self._start_again()
            return
        rate, (steps, progress) = desk.moving_rate, self._freight.load(self.clock)
        later = self.options.order == "at_snapshot"
        meeting, pending = meet(desk, self._exchange, x, self._state, later, steps, progress)
        if meeting.outcome in (Outcome.REFUSED, Outcome.NOT_FINITE):
            self._freight.take_back(steps, progress)
            (self._begin_new_life if meeting.outcome is Outcome.REFUSED else self._start_again)()
            return
        self._pending = pending
        self.counts.moves += pending is None
        self.counts.met_in_place(x.nbytes, meeting)
        self._told.exchanged(self.clock, loss, meeting.squared_norm**0.5, rate, meeting.staleness)
        if desk.asks_for_word():
            self.link.tell()

    def _move(self, d: Tensor) -> None:
        """Move ``x`` by the center held, now or after the next gradient."""
        x, c = self.vector.flat, self.intake.center
        if self._exchange.overwrites:
            self.counts.moves += 1
            self._exchange.take_over_(x, c, self._state, unseen=self._child.unseen(x.device))
            if self._residual is not None:
                x.add_(self._residual)  # what rounding kept back goes with the next push
            return
        rate = self.intake.held.header.moving_rate
        displacement = self._exchange.displacement(x, c, d, self._state, moving_rate=rate)
        if self.options.order == "at_snapshot":
            self._pending = displacement
        elif displacement is not None:
            self._move_by(displacement)

    def _send(self, payload: Payload) -> None:
        steps, progress = self._freight.load(self.clock)
        header = PushHeader(
            incarnation=self._child.incarnation,
            sequence=self._child.sequence + 1,
            computed_from=self.intake.held.header.version,
            steps=steps,
            clock=self.clock,
            taken_at=self.intake.taken_at,
            moving_rate=self.intake.held.header.moving_rate,
            progress=progress,
            checksum=self._checksum(decoded(payload)) if self._checksum else None,
        )
        self._child.retain(header, payload)
        self.counts.exchanges += 1
        self.counts.bytes_sent += payload.nbytes
        self.link.push(header, payload)

    @torch.no_grad()
    def _move_by(self, displacement: Tensor) -> None:
        self.vector.flat.sub_(displacement)
        self._pending = None
        self.counts.moves += 1

    @torch.no_grad()
    def return_to_center(self) -> int:
        """Start from the newest center known; returns how many steps that drops."""
        self._told.take_loss()
        desk, x = self.link.desk, self.vector.flat
        steps, unreached = (0, ()) if desk is None else desk.withdraw()
        x.copy_(self.intake.center if desk is None else read_center(desk, x.numel()))
        if self.options.algorithm.conserves == "pushes":
            for push in self._child.unseen(x.device):  # the center as the hub will have it
                x.add_(push)
        return steps + self._forget(x, unreached)

    def _start_again(self) -> None:
        """Non-finite numbers: leave them here, and start from the center without old momentum."""
        lost = self.return_to_center()
        self.counts.restarts += 1
        self._told.not_finite(self.clock, lost)

    def _begin_new_life(self, *, is_known: bool = True) -> None:
        """The hub took this life for dead, or, a successor, never knew it: then ``x`` may stay.
        What was not applied is lost; say how much."""
        refused = tuple(i for header, _ in self._child.retained for i in header.progress)
        if self.link.desk is not None:
            refused += self.link.desk.pending_progress()
        lost, stays = self._child.write_off(), self._exchange.elastic and not is_known
        self._join(stays=stays)
        if stays:
            self._freight.give_back(refused)
        else:
            self._forget(self.vector.flat, refused)
        self._told.new_life(self._child.incarnation, lost, is_known=is_known)

    def _forget(self, x: Tensor, refused: Intervals) -> int:
        """Begin anew at ``x``: the data goes back to the queue; returns the steps dropped."""
        self._state = self._exchange.begin(x)
        self._pending = self._residual = None
        self.counts.moves += 1
        if self._local_step is not None:
            self._local_step.reset()
        return self._freight.drop(self.clock, refused)
