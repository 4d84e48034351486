"""The audit: sound histories pass it, whatever happens in them; each lie of a hub is found."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ray_easgd.algorithms.contract import Add
from ray_easgd.audit import Account, Audit, audit
from ray_easgd.hub import Hub, HubOptions
from ray_easgd.journal import Entry, Journal, Journals
from ray_easgd.kernels import Checksum
from ray_easgd.protocol import Interval, PushHeader, PushReply, Version

N, SEED = 64, 3
PUSHES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 99), st.booleans()), max_size=40)


class Story:
    """A hub, three children, and what those write down."""

    def __init__(self) -> None:
        self.hub = Hub(HubOptions(center_step=Add()))
        self.entries: list[Entry] = []
        self.checksum = Checksum(N, SEED)
        self.sent = [0, 0, 0]
        start = torch.randn(N, generator=torch.Generator().manual_seed(1))
        self.lives = [self.hub.admit(f"child-{k}", start, ()) for k in range(3)]
        for k in range(3):
            self.write(k, "joined", version=[1, 0], start=self.checksum(start))

    def write(self, k: int, kind: str, **values: object) -> None:
        values |= {"hub": "center", "life": self.lives[k]}
        self.entries.append(Entry(f"child-{k}", k, kind, float(len(self.entries)), values))

    def push(self, k: int, seed: int, *, lie: str = "", is_heard: bool = True) -> None:
        """One push; ``lie`` is what the hub does with it, ``is_heard`` whether its answer comes."""
        self.sent[k] += 1
        sequence, d = self.sent[k], torch.randn(N, generator=torch.Generator().manual_seed(seed))
        start = 10 * (100 * k + sequence)
        self.write(
            k,
            "sent",
            sequence=sequence,
            checksum=self.checksum(d),
            norm=float(d.norm()),
            progress=[[0, start, start + 10]],
        )
        header = PushHeader(
            incarnation=self.lives[k],
            sequence=sequence,
            computed_from=Version(1, 0),
            steps=1,
            progress=(Interval(0, start, start + 10),),
        )
        reply = self.apply(header, d, lie)
        if is_heard:
            self.write(
                k,
                "answered",
                sequence=sequence,
                outcome=reply.outcome.value,
                version=[reply.version.epoch, reply.version.count],
            )

    def apply(self, header: PushHeader, d: torch.Tensor, lie: str) -> PushReply:
        if lie == "drops":
            return self.hub.apply(header, torch.zeros(N))
        reply = self.hub.apply(header, d)
        if lie == "doubles":
            assert self.hub.vector is not None
            self.hub.vector.add_(d)
        return reply

    def audit(self) -> Audit:
        assert self.hub.vector is not None
        header = self.hub.header()
        account = Account(
            version=header.version,
            checksum=self.checksum(self.hub.vector),
            norm=float(self.hub.vector.norm()),
            applied=header.applied,
            samples=self.hub.progress.num_distinct,
        )
        return audit(self.entries, account)


@given(PUSHES)
def test_a_sound_history_passes(pushes: list[tuple[int, int, bool]]) -> None:
    story = Story()
    for k, seed, is_heard in pushes:
        story.push(k, seed, is_heard=is_heard)
    found = story.audit()
    assert all(found.invariants.values()), found.findings
    assert found.pushes_sent == found.pushes_applied == len(pushes)


@given(PUSHES, st.sampled_from(["drops", "doubles"]), PUSHES)
def test_a_push_that_counts_never_or_twice_is_found(
    before: list[tuple[int, int, bool]], lie: str, after: list[tuple[int, int, bool]]
) -> None:
    story = Story()
    for k, seed, _ in before:
        story.push(k, seed)
    story.push(0, 100, lie=lie)
    for k, seed, _ in after:
        story.push(k, seed)
    found = story.audit()
    assert [name for name, holds in found.invariants.items() if not holds] == [
        "each_push_counts_once"
    ]


def test_a_push_that_nobody_sent_is_found() -> None:
    story = Story()
    story.push(0, 1)
    ghost = PushHeader(incarnation=story.lives[1], sequence=1, computed_from=Version(1, 0), steps=1)
    story.hub.apply(ghost, torch.ones(N))
    assert not story.audit().invariants["nothing_else_is_applied"]


def test_an_acknowledged_push_that_is_gone_is_found() -> None:
    story = Story()
    story.push(0, 1)
    vector, header = story.hub.snapshot().vector, story.hub.header()
    story.push(0, 2)
    story.hub.vector, story.hub._applied = vector, dict(header.applied)
    found = story.audit()
    assert not found.invariants["acknowledged_pushes_are_kept"]
    assert found.invariants["each_push_counts_once"], "what is left still adds up"


def test_what_a_center_begun_anew_does_not_have_of_the_gone_is_written_off() -> None:
    story = Story()
    story.push(0, 1)
    snapshot = story.hub.snapshot()
    story.push(0, 2)
    children = {story.lives[1]: "child-1", story.lives[2]: "child-2"}
    options, lives = story.hub.options, max(story.lives)
    story.hub = Hub.recovered(options, snapshot, (), children, epoch=2, born=lives)
    story.push(1, 3)
    found = story.audit()
    assert found.invariants["acknowledged_pushes_are_kept"], found.findings
    assert found.pushes_written_off == 1


def test_journals_are_read_as_they_grow_and_a_torn_line_is_left(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal, journals = Journal(str(folder), "worker-0.2"), Journals(str(folder))
    journal.write("sent", sequence=1)
    journals.look()
    (path,) = folder.iterdir()
    with path.open("a") as file:
        file.write('{"kind": "se')
    journals.look()
    assert [e.values for e in journals.all()] == [{"sequence": 1}]
    with path.open("a") as file:
        file.write('nt", "at": 5.0, "sequence": 2}\n')
    journals.look()
    assert [(e.who, e.values["sequence"]) for e in journals.all()] == [
        ("worker-0.2", 1),
        ("worker-0.2", 2),
    ]
