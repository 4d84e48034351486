"""The configuration: what is accepted, and what a user reads when it is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ray_easgd.algorithms import METHODS
from ray_easgd.config import Config, describe_keys, known_keys, split
from ray_easgd.config_text import parse
from ray_easgd.errors import BadConfig
from ray_easgd.loop import local_step_name, make_local_step, resolve
from ray_easgd.schedules import Decay
from ray_easgd.sections import ScheduleSection
from tests.fakes import small_model


def test_words_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\nfleet: {workers: 3}\nstop: {samples: 100}\n")
    config = Config.load(str(file), ["fleet.workers=2..4", "optimizer.lr=1e-2", "run.name=x"])
    assert config.seed == 1
    assert config.fleet.bounds == (2, 4)
    assert config.optimizer.lr == 0.01
    assert config.stop.samples == 100


def test_the_resolved_configuration_reads_back_the_same(tmp_path: Path) -> None:
    config = Config.load(None, ["optimizer.schedule=cosine", "algorithm.name=easgd"])
    file = tmp_path / "config.yaml"
    file.write_text(config.to_yaml())
    assert Config.load(str(file)) == config


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("algorithm.perriod=3", r"algorithm.perriod = 3: there is no such key.*algorithm\.period"),
        ("workers=3", r"Did you mean 'fleet.workers'"),
        ("topology.levels=[{fan_out: 2, perod: 4}]", r"Did you mean 'topology.levels.0.period'"),
        ("topology.levels=[{fanout: 2, period: 3}]", r"fanout = 2: .*'topology.levels.0.fan_out'"),
        ("topology.levels=[3]", r"levels.0 = 3: it is a group of keys.*levels.0.fan_out"),
        ("fleet=3", r"fleet = 3: it is a group of keys\. Set of it: fleet.workers"),
        ("seed=-1", r"seed = -1: .*It is: what all"),
        ("fleet.workers=[2]", r"fleet.workers = \[2\]: .*integer\. It is: a number"),
        ("optimizer.schedule.name=cosin", r"'cosine'\. It is: what lr is"),
        ("run.name=a/b", r"It is: a folder's name, as mine-2"),
        ("fleet.workers=0", r"fleet.workers = 0: .*number"),
        ("fleet.workers=4..2", r"min <= max"),
        ("fleet.workers=many", r"whole number, or `min..max`"),
        ("algorithm.period=0", r"algorithm.period = 0: .*greater than or equal to 1.*gradient"),
        ("stop.accuracy=95", r"stop.accuracy = 95: .*0 to 1"),
        ("exchange.transport=carrier_pigeon", r"exchange.transport = 'carrier_pigeon'"),
        ("optimizer.schedule=zigzag", r"optimizer.schedule.name = 'zigzag'"),
        ("seed", r"argument = 'seed': it is not key=value"),
        ("seed.x=1", r"seed"),
        ("run.name=[x", r"run.name = '\[x': it is not a YAML value"),
        ("algorithm.beta=.inf", r"algorithm.beta = inf"),
        ("algorithm.moving_rate=.nan", r"algorithm.moving_rate = nan"),
    ],
)
def test_a_wrong_word_is_named_with_its_remedy(word: str, said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        Config.load(None, [word])


@pytest.mark.parametrize(
    "word",
    [
        *("fleet.workers=1000000000000", "fleet.workers=1..1000000000000", "fleet.spares=1000000"),
        *("fleet.gpus_per_worker=.inf", "fleet.cpus_per_worker=.nan", "stop.seconds=1e300"),
        *("optimizer.lr=1e300", "optimizer.weight_decay=.inf", "optimizer.weight_decay=1e300"),
        *("simulator.latency_s=1e308", "simulator.size=100000000000000", "simulator.x0=1e300"),
        *("algorithm.moving_rate=-1e300", "seed=1e30", "exchange.fragments=1000000000"),
        *(
            "evaluation.interval_s=1e300",
            "batch_size=1000000000000",
            "optimizer.schedule.rate=.inf",
        ),
    ],
)
def test_a_value_beyond_all_sense_is_refused(word: str) -> None:
    with pytest.raises(BadConfig, match=re.escape(word.partition("=")[0])):
        Config.load(None, [word])


def test_a_missing_file_and_a_broken_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="No such file"):
        Config.load(str(tmp_path / "none.yaml"))
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(BadConfig, match="not YAML"):
        Config.load(str(tmp_path / "broken.yaml"))
    (tmp_path / "latin.yaml").write_bytes("data: caf\xe9".encode("latin-1"))
    with pytest.raises(BadConfig, match="not UTF-8"):
        Config.load(str(tmp_path / "latin.yaml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nfleet: {workers: 3}\nseed: 2\n", r"'seed' is there twice(.|\n)*line 3"),
        ("fleet: {workers: 3, workers: 2}\n", r"'workers' is there twice"),
        ("fleet: {workers: 3}\nfleet.workers: 2\n", r"fleet.workers = 2: it is also set to 3"),
        ("fleet: 3\nfleet.workers: 2\n", r"fleet = 3: it is a group of keys"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "twice.yaml").write_text(text)
    with pytest.raises(BadConfig, match=said):
        Config.load(str(tmp_path / "twice.yaml"))


def test_a_mapping_may_be_merged_into_another() -> None:
    merged = parse("base: &b {workers: 2, spares: 1}\nfleet: {<<: *b, spares: 0}\n")
    assert merged["fleet"] == {"workers": 2, "spares": 0}


def test_dotted_keys_are_groups_wherever_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("fleet.workers: 2\nfleet: {spares: 1}\noptimizer: {schedule.total: 5}\n")
    config = Config.load(str(file), ["fleet.spares=0"])
    assert (config.fleet.workers, config.fleet.spares) == (2, 0)
    assert config.optimizer.schedule.total == 5
    assert Config.build({"fleet.workers": 2, "fleet": {"spares": 0}}).fleet == config.fleet


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer.schedule=cosine", "optimizer.schedule.total=500"],
        ["optimizer.schedule.total=500", "optimizer.schedule=cosine"],
        ["optimizer={schedule: cosine}", "optimizer.schedule.total=500", "optimizer.lr=1"],
    ],
)
def test_a_schedules_name_is_one_key_beside_its_others(words: list[str]) -> None:
    schedule = Config.load(None, words).optimizer.schedule
    assert (schedule.name, schedule.total) == ("cosine", 500)


def test_a_file_after_the_keys_is_told_to_come_first() -> None:
    path, words = split(["fleet.workers=2", "my.yaml"])
    with pytest.raises(BadConfig, match=r"my.yaml.*CONFIG.yaml comes first"):
        Config.load(path, words)


def test_every_key_is_known_once() -> None:
    keys = list(known_keys())
    assert len(keys) == len(set(keys))
    assert all(meaning for _, _, meaning in describe_keys(Config())), "it is a wrong value's remedy"
    assert {"algorithm.name", "fleet.gpus_per_worker", "stop.seconds", "data"} <= set(keys)


def test_eamsgd_keeps_its_own_step() -> None:
    config = Config.load(None, ["algorithm.name=eamsgd", "optimizer.name=AdamW"])
    with pytest.raises(BadConfig, match=r"optimizer.name = 'AdamW'.*algorithm.name=easgd"):
        local_step_name(config)


def test_any_torch_optimizer_may_be_the_local_step() -> None:
    words = [
        "algorithm.name=easgd",
        "optimizer.name=AdamW",
        "optimizer.options={betas: [0.8, 0.9]}",
    ]
    step = make_local_step(
        small_model().parameters(), Config.load(None, [*words, "optimizer.lr=0.003"])
    )
    group = step.optimizer.param_groups[0]  # type: ignore[attr-defined]
    assert group["lr"] == 0.003
    assert tuple(group["betas"]) == (0.8, 0.9)


def test_numbers_that_yaml_takes_for_text_are_numbers_among_the_options() -> None:
    words = ["algorithm.name=easgd", "optimizer.name=AdamW"]
    options = "optimizer.options={eps: 1e-6, betas: [9e-1, 0.5]}"
    step = make_local_step(small_model().parameters(), Config.load(None, [*words, options]))
    group = step.optimizer.param_groups[0]  # type: ignore[attr-defined]
    assert (group["eps"], *group["betas"]) == (1e-6, 0.9, 0.5)


def test_only_optimizers_that_can_work_are_offered() -> None:
    config = Config.load(None, ["algorithm.name=easgd", "optimizer.name=Adamm"])
    with pytest.raises(BadConfig) as caught:
        local_step_name(config)
    assert not {"Optimizer", "LBFGS", "SparseAdam"} & set(caught.value.remedy.split(", "))


def test_a_momentum_makes_the_methods_own_sgd_torchs() -> None:
    config = Config.load(None, ["algorithm.name=easgd", "optimizer.momentum=0.9"])
    step = make_local_step(small_model().parameters(), config)
    assert step.optimizer.param_groups[0]["momentum"] == 0.9  # type: ignore[attr-defined]


@pytest.mark.parametrize(("words", "decay"), [([], 0.01), (["optimizer.weight_decay=0"], 0.0)])
def test_a_weight_decay_is_the_one_given_and_else_the_optimizers_own(
    words: list[str], decay: float
) -> None:
    words = ["algorithm.name=easgd", "optimizer.name=AdamW", *words]
    step = make_local_step(small_model().parameters(), Config.load(None, words))
    assert step.optimizer.param_groups[0]["weight_decay"] == decay  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.name=Adamm"], r"torch.optim has no such optimizer.*Adam\b"),
        (["optimizer.name=Adam", "optimizer.momentum=0.9"], r"optimizer.momentum = 0.9: Adam has"),
        (["optimizer.name=Adam", "optimizer.options={beta: 1}"], r"options.beta = 1: .*betas"),
        (["optimizer.name=Adam", "optimizer.options={params: 1}"], r"options.params = 1: Adam has"),
        (["optimizer.name=AdamW", "optimizer.options={betas: 3}"], r"optimizer.options = {'betas"),
        (
            ["optimizer.name=SGD", "optimizer.options={nesterov: true}"],
            r"optimizer.options.*moment",
        ),
        (["optimizer.name=SGD", "optimizer.options={lr: 0.9}"], r"Set optimizer.lr=0.9 instead"),
        (["optimizer.name=sgd", "optimizer.options={nesterov: true}"], r"optimizer.name=SGD"),
        (["optimizer.name=LBFGS"], r"optimizer.name = 'LBFGS': it evaluates"),
        (["optimizer.name=Muon"], r"optimizer.name = 'Muon'.*2D"),
    ],
)
def test_a_wrong_optimizer_is_named(words: list[str], said: str) -> None:
    config = Config.load(None, ["algorithm.name=easgd", *words])
    with pytest.raises(BadConfig, match=said):
        make_local_step(small_model().parameters(), config)


def test_a_schedule_follows_the_local_clock() -> None:
    decay = ScheduleSection(name="decay", rate=1.0).build()
    assert isinstance(decay, Decay)
    assert decay(3) == pytest.approx(0.5)
    cosine = ScheduleSection(name="cosine", warmup=10, total=110).build()
    assert [cosine(9), cosine(60), cosine(500)] == pytest.approx([1.0, 0.5, 0.0])


@pytest.mark.parametrize("method", list(METHODS))
def test_a_resolved_configuration_says_what_it_runs_and_stays_so(method: str) -> None:
    config = resolve(Config.load(None, [f"algorithm.name={method}"]))
    assert config.algorithm.period == METHODS[method].period
    assert config.optimizer.lr == METHODS[method].lr
    assert config.optimizer.name == METHODS[method].local_step
    assert resolve(config) == config
