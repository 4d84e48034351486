"""``ray-easgd status``: which run is meant, and what is said of one that is not there."""

from __future__ import annotations

import pytest

from actors.runs import choose
from actors.status import RunStatus, status
from ray_easgd.display.tree import TreeNode
from ray_easgd.errors import BadInput
from ray_easgd.strict_json import dumps, loads


def test_the_only_run_needs_no_name() -> None:
    assert choose(None, {"a": "ours"}) == ("a", "ours")
    assert choose("b", {"a": "ours", "b": "theirs"}) == ("b", "theirs")


@pytest.mark.parametrize(
    ("run", "running", "said"),
    [
        (None, {}, r"no such run.*Going on: \(none\).*ray-easgd show"),
        (None, {"b": "", "a": ""}, "several runs.*Going on: a, b"),
        ("c", {"a": ""}, "no such run.*Going on: a"),
    ],
)
def test_a_run_that_cannot_be_told_names_those_that_can(
    run: str | None, running: dict[str, str], said: str
) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        choose(run, running)
    assert refused.value.field == "RUN"


def test_a_status_comes_back_out_of_its_json() -> None:
    worker = TreeNode(name="worker-0", parent="center", staleness=2.0)
    told = RunStatus(run="r", version=3, samples=7, total_samples=None, tree=(worker,))
    again = RunStatus.from_dict(loads(dumps(told.as_dict())))
    assert repr(again) == repr(told)  # NaN equals nothing


@pytest.mark.cluster
def test_a_cluster_is_asked_for_its_runs(cluster: None) -> None:
    with pytest.raises(BadInput, match="there is no such run"):
        status("nobody", None)
