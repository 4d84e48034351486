"""A run of the same name that had other settings."""

from __future__ import annotations

from typing import Any

import pytest

from ray_easgd.config import Config
from ray_easgd.differing import differing, refuse_others, told
from ray_easgd.errors import BadConfig
from ray_easgd.loop import resolve

FIRST: dict[str, Any] = {"algorithm": {"name": "easgd"}, "run": {"name": "first"}}
TREE = [{"fan_out": 2, "period": 8}, {"fan_out": 2, "period": 4}]


def as_run(values: dict[str, Any]) -> Config:
    return resolve(Config.build(values))


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return list(differing(as_run(before), as_run(now), Config.build(now)))


def test_what_the_user_set_otherwise_is_named_and_not_what_follows_from_it() -> None:
    now = FIRST | {"algorithm": {"name": "downpour"}, "model": "small_cnn", "optimizer": {"lr": 1}}
    assert differences(FIRST, now) == ["algorithm.name", "optimizer.lr", "model"]


def test_what_the_user_sets_no_more_is_named_too() -> None:
    assert differences(FIRST | {"optimizer": {"lr": 0.5}}, FIRST) == ["optimizer.lr"]


def test_how_older_runs_wrote_that_no_decay_was_asked_for_is_no_other() -> None:
    before = as_run(FIRST | {"optimizer": {"weight_decay": 0.0}})
    assert differing(before, as_run(FIRST), Config.build(FIRST)) == {}


@pytest.mark.parametrize(
    "values",
    [
        {"fleet": {"workers": 3}},
        {"address": "auto"},
        {"run": {"name": "first", "keep": 9}},
        {"exchange": {"transport": "object_store"}},
    ],
)
def test_what_cannot_change_the_result_may_differ(values: dict[str, Any]) -> None:
    refuse_others(as_run(FIRST), as_run(FIRST | values), Config.build(FIRST | values))


def test_a_tree_that_follows_the_nodes_may_differ_and_one_that_was_asked_for_may_not() -> None:
    tree = FIRST | {"topology": {"levels": TREE}}
    refuse_others(as_run(tree), as_run(FIRST), Config.build(FIRST))
    refuse_others(as_run(FIRST), as_run(tree), Config.build(FIRST))
    with pytest.raises(BadConfig, match=r"topology\.levels"):
        refuse_others(as_run(FIRST), as_run(tree), Config.build(tree))


def test_a_rate_that_the_run_itself_has_halved_is_no_other() -> None:
    run = {"run": {"name": "first", "rollbacks": 2}, "optimizer": {"lr": 0.05}}
    asked = FIRST | {"optimizer": {"lr": 0.1}}
    refuse_others(as_run(FIRST | run), as_run(asked), Config.build(asked))


def test_a_finished_run_of_other_settings_is_refused_by_all_their_names() -> None:
    now = FIRST | {"batch_size": 8, "seed": 3}
    with pytest.raises(BadConfig, match="is finished and had 32, and seed=0 rather than 3") as no:
        refuse_others(as_run(FIRST), as_run(now), Config.build(now))
    assert (no.value.field, no.value.value) == ("batch_size", 8)


def test_a_run_that_goes_on_tells_what_is_new() -> None:
    now = FIRST | {"optimizer": {"lr": 0.5}}
    found = differing(as_run(FIRST | {"optimizer": {"lr": 0.05}}), as_run(now), Config.build(now))
    assert told(found) == "goes on with optimizer.lr=0.5, it had 0.05"
