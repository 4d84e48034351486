"""A plan: what a configuration will do, and which period, rate and topology to take instead."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from ray_easgd.errors import BadConfig
from ray_easgd.loop import local_step_name, resolve
from ray_easgd.moving_rate import moving_rate
from ray_easgd.planner.pace import pace
from ray_easgd.planner.setting import Setting, exchanged_bytes
from ray_easgd.planner.stability import Stability, stability
from ray_easgd.recipe import algorithm_of, average_of
from ray_easgd.sections import LevelSection
from ray_easgd.topology import levels_per_node

if TYPE_CHECKING:
    from ray_easgd.config import Config

_EXCHANGE_SHARE = 0.05  # of a worker's time
_HUB_SHARE = 0.5  # of the center's, above which pushes queue
_LINE_SHARE = 0.5
_MOST_PERIOD = 1024
_SURELY = 1.05  # growth in a cycle that no curvature makes good
_MOST_HALVINGS = 4  # of beta
_FEWEST_PERIOD = 4  # below it traffic grows and nothing else: the paper's figure 2
_STATE_VECTORS = {"sgd": 0, "nesterov": 1, "SGD": 1, "Adam": 2, "AdamW": 2}


def plan(config: Config, setting: Setting) -> dict[str, Any]:
    """The JSON object of ``ray-easgd plan``: the verdict is on the configuration as it is."""
    asked = config
    config = _with_workers(config, setting.workers)
    own = _judged(config, setting)
    period, why_period = _period(setting)
    levels = _levels(setting, period)
    if levels:
        setting_below = replace(setting, nodes=1)  # below an aggregator exchanges are in memory
        period, why_period = _period(setting_below)
        levels = _levels(setting, period)
    candidate, better, rate, why_rate = _rate(config, setting, period, levels)
    used = _period_of(config)
    per_sample_s = (setting.step_s + setting.exchange_s / used) / (
        config.batch_size * setting.workers
    )
    return {
        "verdict": own.verdict,
        "margin": own.margin if math.isfinite(own.margin) else None,
        "period": period,
        "moving_rate": rate,
        "topology": [level.model_dump(exclude_none=True) for level in levels],
        "bytes_per_sample": _bytes_per_sample(config, setting, used),
        "reasons": [
            f"as configured: {own.reason}",
            *why_period,
            *why_rate,
            _why_topology(setting, period, levels),
            *_why_lr(config, setting),
        ],
        "words": _words(asked, candidate),
        "recommended_verdict": better.verdict,
        "seconds_per_sample": per_sample_s,
        "staleness": own.staleness if math.isfinite(own.staleness) else None,
        "pace": pace(algorithm_of(config), setting.workers, config.topology.levels),
        "variance_ratio": _variance_ratio(config, setting),
        "curvature": setting.curvature,
        "step_s": setting.step_s,
        "num_parameters": setting.num_parameters,
        "worker_bytes": _worker_bytes(config, setting),
        "hub_bytes": _hub_bytes(config, setting),
    }


def _judged(config: Config, setting: Setting) -> Stability:
    if setting.curvature is None:
        found = stability(config, 0.0)
        if found.verdict == "stable":
            return Stability(
                verdict="unknown",
                reason="averaging is stable; of the loss's curvature nothing is known",
                growth=found.growth,
                staleness=found.staleness,
            )
        return found
    return stability(config, setting.curvature)


def _levels(setting: Setting, period: int) -> tuple[LevelSection, ...]:
    """An aggregator on each node, which meets the center as often as the line bears."""
    levels = levels_per_node(setting.nodes, setting.workers, period)
    if not levels:
        return ()
    on_each = levels[1].fan_out
    line_s = setting.line_bytes * 8 / (setting.gbit * 1e9)
    rounds = line_s / (_LINE_SHARE * period * setting.step_s)  # of each child's exchanges
    upper = on_each * max((levels[0].up or 1) // on_each, 2 ** math.ceil(math.log2(max(1, rounds))))
    return (levels[0].model_copy(update={"period": upper}), levels[1])


def _period(setting: Setting) -> tuple[int, list[str]]:
    """The smallest power of two at which communication is no more seen."""
    exchange, step, p = setting.exchange_s, setting.step_s, setting.workers
    needs = {
        f"an exchange ({1e3 * exchange:.2g} ms) takes at most {_EXCHANGE_SHARE:.0%} of a worker's "
        f"time beside steps of {1e3 * step:.2g} ms": exchange / (_EXCHANGE_SHARE * step),
        f"the center is busy with {p} workers at most {_HUB_SHARE:.0%} of the time": (
            p * exchange / (_HUB_SHARE * step)
        ),
    }
    if setting.nodes > 1:
        away = p * (setting.nodes - 1) / setting.nodes
        seconds = away * setting.line_bytes * 8 / (setting.gbit * 1e9)
        needs[f"exchanges fill at most {_LINE_SHARE:.0%} of a line of {setting.gbit:g} Gbit/s"] = (
            seconds / (_LINE_SHARE * step)
        )
    why, least = max(needs.items(), key=lambda need: need[1])
    period = min(_MOST_PERIOD, max(_FEWEST_PERIOD, 2 ** math.ceil(math.log2(max(least, 1.0)))))
    if least <= _FEWEST_PERIOD:
        word = "exchanges cost next to nothing here, and more frequent ones bring no further speed"
        return period, [f"period {period}: {word}"]
    return period, [f"period {period}: at {least:.3g} steps and above, {why}"]


def _rate(
    config: Config, setting: Setting, period: int, levels: tuple[LevelSection, ...]
) -> tuple[Config, Stability, float | None, list[str]]:
    """The hub's own rule, unless the fleet is not stable with it; then half, and so on.

    The configuration with it, what is to be said of that, the moving rate, and why.
    """
    method = algorithm_of(config)
    if not method.exchange.elastic:
        candidate = _recommended(config, period, levels, config.algorithm.beta)
        return candidate, _judged(candidate, setting), None, []
    whole = config.algorithm.beta or method.beta
    betas = [whole / 2**halvings for halvings in range(_MOST_HALVINGS + 1)]
    candidates = [_recommended(config, period, levels, beta) for beta in betas]
    judged = [
        (_judged(one, setting), one, beta) for one, beta in zip(candidates, betas, strict=True)
    ]
    found, candidate, beta = next((j for j in judged if j[0].verdict != "unstable"), judged[0])
    rate = moving_rate(beta, levels[0].fan_out if levels else setting.workers)
    if found.verdict == "unstable":  # a weaker tie would be no better: the steps swing themselves
        lr = config.optimizer.lr or method.lr
        problem = (
            f"moving rate {rate:.3g}: none helps at lr = {lr:g} and this curvature "
            f"({found.reason}); lower optimizer.lr to {lr / 2:.2g} or less, or trust the loss to "
            "get flatter where it is too steep, as networks' losses mostly do"
        )
        return candidate, found, rate, [problem]
    why = [f"moving rate {rate:.3g}: beta = {beta:.3g} shared by who meets there ({found.reason})"]
    if beta < whole:
        why.append(f"with more than beta = {beta:.3g} the fleet would not be stable")
    return candidate, found, rate, why


def _recommended(
    config: Config, period: int, levels: tuple[LevelSection, ...], beta: float | None
) -> Config:
    topology = config.topology.model_copy(update={"levels": levels})
    update = {"period": None if levels else period, "beta": beta, "moving_rate": None}
    algorithm = config.algorithm.model_copy(update=update)
    return config.model_copy(update={"topology": topology, "algorithm": algorithm})


def _words(asked: Config, recommended: Config) -> list[str]:
    """What to add to the words of ``asked`` for what is recommended."""
    levels, wanted = recommended.topology.levels, recommended.algorithm
    words = [] if wanted.period is None else [f"algorithm.period={wanted.period}"]
    if levels and asked.algorithm.period is not None:
        words.append("algorithm.period=null")  # levels have periods of their own
    if levels != asked.topology.levels:
        shown = [level.model_dump(exclude_defaults=True) for level in levels]
        flow = yaml.safe_dump(shown, default_flow_style=True, sort_keys=False, width=math.inf)
        words.append(f"topology.levels={flow.strip()}")
    if wanted.beta != (asked.algorithm.beta or algorithm_of(asked).beta):
        words.append(f"algorithm.beta={wanted.beta:g}")
    if asked.algorithm.moving_rate is not None and algorithm_of(asked).exchange.elastic:
        words.append("algorithm.moving_rate=null")  # the hub's own rule, by beta
    return words


def _why_topology(setting: Setting, period: int, levels: tuple[LevelSection, ...]) -> str:
    if levels:
        steps = (levels[0].up or 1) * period / levels[1].fan_out
        return (
            f"a tree with an aggregator on each of {setting.nodes} nodes: what workers of a node "
            f"tell each other does not leave it, and its line carries {setting.line_bytes:.3g} "
            f"bytes in {steps:g} steps, at most {_LINE_SHARE:.0%} of {setting.gbit:g} Gbit/s"
        )
    return "one center: its children are on its node, or too few on any other for a hub between"


def _why_lr(config: Config, setting: Setting) -> list[str]:
    method = algorithm_of(config)
    found = pace(method, setting.workers, config.topology.levels)
    lr = config.optimizer.lr or method.lr
    if found is None or found >= 1.0:
        return []
    why = (
        "learning rate: a hub weighs as much as a worker and takes no steps, so the fleet moves "
        f"{found:.2f} as fast as one process does at {lr:g}; {lr / found:.2g} makes up for it, if "
        "the loss bears that"
    )
    return [why]


def _bytes_per_sample(config: Config, setting: Setting, period: int) -> float:
    """Moved by exchanges, both directions; of a tree also what hubs exchange above.

    What is exchanged in memory is float32, whatever the format.
    """
    levels, n = config.topology.levels, setting.num_parameters
    can_share = algorithm_of(config).in_place and config.exchange.transport != "object_store"

    def exchanged(level: LevelSection | None, *, on_a_node: bool) -> float:
        form = (level.format if level else None) or setting.format
        return exchanged_bytes(n, "float32" if on_a_node and can_share else form)

    alone = setting.nodes == 1
    whole = exchanged(levels[-1] if levels else None, on_a_node=alone or bool(levels[1:]))
    share = 1.0
    for level in reversed(levels[:-1]):
        share /= level.up or 1
        whole += share * exchanged(level, on_a_node=alone)
    return whole / (period * config.batch_size)


def _variance_ratio(config: Config, setting: Setting) -> float | None:
    """The center's stationary variance over that of one SGD worker, at the largest curvature;
    in lockstep, at period 1 (docs/mathematics.md, 3.1)."""
    from ray_easgd import theory

    method = algorithm_of(config)
    if not setting.curvature or method.conserves != "sum" or config.topology.levels:
        return None
    eta, p = config.optimizer.lr or method.lr, setting.workers
    alpha = config.algorithm.moving_rate
    if alpha is None:
        alpha = moving_rate(config.algorithm.beta or method.beta, p)
    center = theory.easgd_stationary(eta, setting.curvature, alpha, p * alpha, 1.0, p)[2]
    alone = theory.sgd_stationary(eta, setting.curvature, 1.0)
    ratio = float(center / alone) if math.isfinite(float(alone)) else math.nan
    return ratio if math.isfinite(ratio) else None


def _worker_bytes(config: Config, setting: Setting) -> int:
    """Parameters, gradients, the optimizer's state; away from the hub also a snapshot and two
    pushes that no snapshot has shown."""
    vectors = 2 + _STATE_VECTORS.get(local_step_name(config), 2) + (3 if setting.nodes > 1 else 0)
    return 4 * vectors * setting.num_parameters


def _hub_bytes(config: Config, setting: Setting) -> int:
    """The center, and a snapshot of it in the object store; an average where there is one."""
    is_averaged = average_of(config, algorithm_of(config)) != "none"
    return 4 * (2 + is_averaged) * setting.num_parameters


def _period_of(config: Config) -> int:
    levels = config.topology.levels
    if levels:
        return levels[-1].up or 1
    return config.algorithm.period or algorithm_of(config).period


def _with_workers(config: Config, workers: int) -> Config:
    config = resolve(config)
    fleet = config.fleet.model_copy(update={"workers": workers})
    return config.model_copy(update={"fleet": fleet})


def check(config: Config, num_workers: int) -> str:
    """The part that costs a moment, of a moving rate of the user's own; a warning, or nothing.

    Averaging alone has to be stable: what swings ever wider without any gradient does so with
    one too, but near the bound. BadConfig where it surely does. A negative rate may be stable by
    the gradients alone, so it is not judged.
    """
    section, levels = config.algorithm, config.topology.levels
    chosen = section.moving_rate or section.beta or any(level.moving_rate for level in levels)
    is_elastic = algorithm_of(config).exchange.elastic
    if not chosen or not is_elastic or (section.moving_rate or 0.0) < 0.0:
        return ""
    found = stability(_with_workers(config, num_workers), 0.0)
    if found.verdict != "unstable":
        return ""
    if found.growth > _SURELY:
        raise BadConfig(
            "algorithm.moving_rate" if section.moving_rate else "algorithm.beta",
            section.moving_rate or section.beta,
            f"with {num_workers} workers averaging alone swings ever wider: {found.reason}",
            "Leave it away for the hub's own rule, see `ray-easgd plan`, or `train --force`.",
        )
    return f"this moving rate is at the bound of what is stable: {found.reason}"
