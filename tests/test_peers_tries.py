"""Contenders as they are asked for, with settings of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from actors.peers.our_loop import _local_step
from actors.peers.ours import config_of
from ray_easgd.cli import main
from ray_easgd.errors import BadInput
from ray_easgd.peers.contenders import CONTENDERS
from ray_easgd.peers.loop import make_sgd
from ray_easgd.peers.tries import Try, read_try
from ray_easgd.peers.workload import Order, Workload


def order_of(chosen: Try) -> Order:
    return Order(
        workload=chosen.work(Workload()),
        folder="f",
        began_at=0.0,
        port=0,
        options=chosen.contender.options,
    )


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: c.name)
def test_a_name_alone_is_that_contender_on_everybodys_work(contender: Any) -> None:
    chosen = read_try(contender.name)
    assert chosen == Try(contender=contender)
    assert chosen.work(Workload()) == Workload()


def test_our_worker_takes_its_own_rate_and_period_and_keeps_the_rest() -> None:
    chosen = read_try("eamsgd_average:lr=0.15,period=2")
    order = order_of(chosen)
    step: Any = _local_step(order, torch.nn.Linear(2, 1))
    config = config_of(order)
    assert step.lr == 0.15
    assert config.algorithm.period == 2
    assert config.center.average == "moving"
    assert chosen.contender.name == "eamsgd_average:lr=0.15,period=2", "as its rows are named"


def test_a_peer_takes_its_own_rate() -> None:
    sgd = make_sgd(order_of(read_try("torch_ddp:lr=0.25")), torch.nn.Linear(2, 1))
    assert sgd.param_groups[0]["lr"] == 0.25
    assert sgd.param_groups[0]["nesterov"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ddp", "there is no such contender. Take one_process, torch_ddp"),
        ("eamsgd:rate=1", "'rate': a contender has lr and period to set"),
        ("eamsgd:lr=1,lr=2", "'lr': it is given twice"),
        ("eamsgd:lr=fast", "lr = 'fast' is not a number above 0"),
        ("eamsgd:lr=-1", "lr = '-1' is not a number above 0"),
        ("eamsgd:lr=inf", "lr = 'inf' is not a number above 0"),
        ("eamsgd:lr=nan", "lr = 'nan' is not a number above 0"),
        ("eamsgd:lr", "lr = '' is not a number above 0"),
        ("eamsgd:period=2.5", "period = '2.5' is not a whole number above 0"),
        ("torch_ddp:period=2", "torch_ddp has no period to set. Leave period away."),
        ("eamsgd_tree:period=2", "eamsgd_tree has no period to set"),
    ],
)
def test_what_cannot_be_tried_names_the_option_and_the_remedy(text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_try(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"--only = {text!r}")


def test_the_command_refuses_before_anything_starts() -> None:
    words = ["benchmark", "peers", "--only", "eamsgd:lr=fast", "--json"]
    ended = CliRunner().invoke(main, words)
    assert ended.exit_code == 2
    assert not [line for line in ended.stdout.splitlines() if "rows" in json.loads(line)]
