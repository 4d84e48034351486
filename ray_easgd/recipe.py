"""From a configuration to the algorithm it asks for, with what contradicts it refused by name."""

from __future__ import annotations

import math
from typing import Any

from ray_easgd.algorithms import Algorithm, find_method
from ray_easgd.algorithms.contract import Average, Order
from ray_easgd.algorithms.elastic import ElasticExchange
from ray_easgd.algorithms.messages import by_messages
from ray_easgd.algorithms.staleness import weighted
from ray_easgd.algorithms.two_rate import JacobiExchange, in_scheme
from ray_easgd.config import Config
from ray_easgd.errors import BadConfig
from ray_easgd.sections import AlgorithmSection, LevelSection
from ray_easgd.topology import refuse_swing

_SETTINGS = ("momentum", "center_rate", "outer_lr", "as_printed")


def algorithm_of(config: Config) -> Algorithm:
    """The method of ``config.algorithm`` with its settings; BadConfig for one it does not have."""
    section = config.algorithm
    algorithm = find_method(section.name)
    _refuse_many_workers_for_one(algorithm, config)
    if section.scheme is not None:
        algorithm = _in_scheme(algorithm, section)
    for name in _SETTINGS:
        value = getattr(section, name)
        if value is not None:
            algorithm = _having(algorithm, name, value)
    if config.topology.scheme == "messages":
        algorithm = _by_messages(algorithm, config)
    weighted(algorithm.center_step, section.staleness_power)
    _refuse_impossible_order(algorithm, section)
    _refuse_impossible_targets(algorithm, section)
    _refuse_two_periods(config)
    _refuse_what_makes_no_tree(algorithm, config)
    _refuse_impossible_sharing(algorithm, config)
    _refuse_rounds_in_fragments(algorithm, config)
    _refuse_what_cannot_be_taken_back(algorithm, config)
    return algorithm


def order_of(config: Config, algorithm: Algorithm) -> Order:
    """``algorithm.order``, or the method's own."""
    return config.algorithm.order or algorithm.order


def average_of(config: Config, algorithm: Algorithm) -> Average:
    """``center.average``, or the method's own."""
    return config.center.average or algorithm.average


def refuse_what_differs_on_the_wire(config: Config, doing: str) -> None:
    """BadConfig for keys under which not one whole float32 vector is exchanged, each period."""
    for key in ("target_distance", "target_share"):
        if (target := getattr(config.algorithm, key)) is not None:
            raise BadConfig(
                f"algorithm.{key}", target, f"{doing} knows fixed periods only", "Leave it away."
            )
    if (most := config.fleet.max_staleness) is not None:
        raise BadConfig(
            "fleet.max_staleness",
            most,
            f"{doing} knows no push that is taken back",
            "Leave it away.",
        )
    keys: dict[str, tuple[object, object]] = {
        "exchange.format": (config.exchange.format, "float32"),
        "exchange.fragments": (config.exchange.fragments, 1),
        "center.shards": (config.center.shards, 1),
    }
    for k, level in enumerate(config.topology.levels):
        keys[f"topology.levels.{k}.format"] = (level.format or "float32", "float32")
    for key, (value, plain) in keys.items():
        if value != plain:
            raise BadConfig(
                key, value, f"{doing} knows whole float32 vectors only", f"Set {key}={plain}."
            )


def _having(algorithm: Algorithm, name: str, value: Any) -> Algorithm:
    has = algorithm.momentum if name == "momentum" else name in algorithm.settings()
    if not has:
        remedies = {
            "momentum": "Set optimizer.momentum, or take a method with momentum, as eamsgd.",
            "center_rate": "Take algorithm.name=two_rate or gauss_seidel.",
            "outer_lr": "Take algorithm.name=diloco or diloco_async.",
            "as_printed": "Take algorithm.name=mdownpour.",
        }
        raise BadConfig(
            f"algorithm.{name}",
            value,
            f"{algorithm.name} has no {name.replace('_', ' ')} of its own",
            remedies[name],
        )
    return algorithm.having(**{name: value})


def _in_scheme(algorithm: Algorithm, section: AlgorithmSection) -> Algorithm:
    if not isinstance(algorithm.exchange, JacobiExchange):
        raise BadConfig(
            "algorithm.scheme",
            section.scheme,
            f"{algorithm.name} has one order only",
            "Leave it away, or take algorithm.name=two_rate or gauss_seidel.",
        )
    assert section.scheme is not None
    return in_scheme(algorithm, section.scheme)


def _by_messages(algorithm: Algorithm, config: Config) -> Algorithm:
    if algorithm.rounds != "none" or not isinstance(algorithm.exchange, ElasticExchange):
        raise BadConfig(
            "topology.scheme",
            "messages",
            f"{algorithm.name} needs its center's answers, and a one-way message has none",
            "Take algorithm.name=easgd or eamsgd, or topology.scheme=elastic.",
        )
    if not config.topology.levels:
        raise BadConfig(
            "topology.levels", [], "messages run on a tree", "Give levels, as [{fan_out: 4, ...}]."
        )
    rates = [config.algorithm.moving_rate, *(level.moving_rate for level in config.topology.levels)]
    for rate in rates:
        if rate is not None and not 0 < rate <= 1:
            raise BadConfig(
                "moving_rate",
                rate,
                "a node that hears a message has to end between itself and what it heard",
                "Take a rate above 0 and at most 1, or leave it away for beta / (d + 1).",
            )
    return by_messages(algorithm)


def _refuse_many_workers_for_one(algorithm: Algorithm, config: Config) -> None:
    bounds = config.fleet.bounds
    if algorithm.sequential and bounds and bounds[1] > 1:
        raise BadConfig(
            "fleet.workers",
            config.fleet.workers,
            f"{algorithm.name} is sequential: one worker",
            "Leave fleet.workers away, or take algorithm.name=easgd or eamsgd.",
        )


def _refuse_two_periods(config: Config) -> None:
    if config.topology.levels and config.algorithm.period is not None:
        raise BadConfig(
            "algorithm.period",
            config.algorithm.period,
            "topology.levels have periods of their own",
            "Leave it away, and set the period of each level.",
        )


def _refuse_impossible_targets(algorithm: Algorithm, section: AlgorithmSection) -> None:
    """Whoever waits for others has to exchange when they do."""
    given = section.target_distance or section.target_share
    if section.target_distance and section.target_share:
        raise BadConfig(
            "algorithm.target_share",
            section.target_share,
            "a period cannot follow it and algorithm.target_distance",
            "Leave one of the two away.",
        )
    if given and algorithm.rounds != "none":
        raise BadConfig(
            "algorithm.target_distance" if section.target_distance else "algorithm.target_share",
            given,
            f"workers of {algorithm.name} exchange together, so none has a period of its own",
            "Leave it away, or take a method that waits for nobody.",
        )


def _refuse_what_makes_no_tree(algorithm: Algorithm, config: Config) -> None:
    levels, section = config.topology.levels, config.algorithm
    if levels and algorithm.sequential:
        raise BadConfig(
            "topology.levels",
            f"{math.prod(level.fan_out for level in levels)} workers",
            f"{algorithm.name} is sequential: one worker",
            "Leave topology.levels away, or take another method.",
        )
    refuse = _refuse_no_period if config.topology.scheme == "elastic" else _refuse_half_a_period
    for k, level in enumerate(levels):
        refuse(k, level)
    if len(levels) > 1 and algorithm.conserves == "sum":
        beta = section.beta or algorithm.beta
        refuse_swing(levels, beta=beta, fixed_rate=section.moving_rate)


def _refuse_no_period(k: int, level: LevelSection) -> None:
    if level.period is None or level.period_up or level.period_down:
        raise BadConfig(
            f"topology.levels.{k}.period",
            level.period,
            "an exchange goes both ways at once and needs one period",
            "Set period alone; period_up and period_down are for topology.scheme=messages.",
        )


def _refuse_half_a_period(k: int, level: LevelSection) -> None:
    missing = [name for name in ("up", "down") if getattr(level, name) is None]
    if missing:
        raise BadConfig(
            f"topology.levels.{k}.period_{missing[0]}",
            None,
            "messages go both ways, and each has a period",
            "Set period_up and period_down, or period for both.",
        )


def _refuse_impossible_sharing(algorithm: Algorithm, config: Config) -> None:
    if config.exchange.transport != "shared_memory":
        return
    if not algorithm.in_place or config.algorithm.staleness_power:
        raise BadConfig(
            "exchange.transport",
            "shared_memory",
            f"the center of {algorithm.name} does more than add up what arrives, so it has to be "
            "told of each push",
            "Set exchange.transport=auto, or take easgd, eamsgd, downpour or an averaged downpour "
            "without algorithm.staleness_power.",
        )


def _refuse_rounds_in_fragments(algorithm: Algorithm, config: Config) -> None:
    """Their turns would differ among workers who came at different times: a circle of waits."""
    if config.exchange.fragments > 1 and algorithm.rounds != "none":
        raise BadConfig(
            "exchange.fragments",
            config.exchange.fragments,
            f"in {algorithm.name} workers wait for each other, and would do so in other fragments",
            "Set exchange.fragments=1, or take a method that waits for nobody, as diloco_async.",
        )


def _refuse_what_cannot_be_taken_back(algorithm: Algorithm, config: Config) -> None:
    """A push that is taken back has to be what the child moved by, and nothing else."""
    most, exchange = config.fleet.max_staleness, algorithm.exchange
    plain = isinstance(exchange, ElasticExchange) and not exchange.one_way
    if most is not None and not (plain and algorithm.rounds == "none"):
        raise BadConfig(
            "fleet.max_staleness",
            most,
            f"a worker of {algorithm.name} cannot take back what it sent",
            "Leave it away, or take algorithm.name=easgd or eamsgd (with topology.scheme=elastic).",
        )


def _refuse_impossible_order(algorithm: Algorithm, section: AlgorithmSection) -> None:
    if section.order == "at_snapshot" and algorithm.exchange.overwrites:
        raise BadConfig(
            "algorithm.order",
            section.order,
            f"{algorithm.name} takes over the center, which a gradient in between would undo",
            "Leave algorithm.order away.",
        )
    if algorithm.fixed_order and section.order not in (None, algorithm.order):
        raise BadConfig(
            "algorithm.order",
            section.order,
            f"{algorithm.name} in this scheme is defined by the order {algorithm.order}",
            "Leave it away, or choose another algorithm.scheme.",
        )
