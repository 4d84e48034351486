"""How a hub treats its children and a child meets its hub, by their depth in the tree.

The center has depth 0; without ``topology.levels`` it is the only hub. Level k of the configuration
is about the children of hubs at depth k.
"""

from __future__ import annotations

from ray_easgd.algorithms import Algorithm
from ray_easgd.config import Config
from ray_easgd.elastic_options import ElasticOptions
from ray_easgd.hub import HubOptions, options_for
from ray_easgd.recipe import average_of, order_of
from ray_easgd.sections import LevelSection


def hub_options(
    config: Config, algorithm: Algorithm, depth: int, *, traced: bool = False
) -> HubOptions:
    """Of a hub at ``depth``. Averages are the center's alone."""
    section, level = config.algorithm, _level(config, depth)
    rate = level.moving_rate if level is not None else None
    return options_for(
        algorithm,
        beta=section.beta,
        fixed_rate=section.moving_rate if rate is None else rate,
        has_parent=depth > 0,
        ledger_seed=config.seed if config.exchange.ledger else None,
        average="none" if depth else average_of(config, algorithm),
        average_rate=config.center.average_rate,
        staleness_power=section.staleness_power,
        max_staleness=config.fleet.max_staleness,
        traced=traced,
    )


def tie_options(
    config: Config, algorithm: Algorithm, depth: int, *, is_worker: bool, traced: bool = False
) -> ElasticOptions:
    """Of a child of a hub at ``depth``. An aggregator takes no gradient in between.

    A traced push carries its checksum, which tells a replay where it went astray.
    """
    level = _level(config, depth)
    periods = (level.up, level.down) if level is not None else (None, None)
    wire_format = (level.format if level is not None else None) or config.exchange.format
    return ElasticOptions(
        algorithm=algorithm,
        period=periods[0] or config.algorithm.period or algorithm.period,
        period_down=periods[1],
        order=order_of(config, algorithm) if is_worker else "between_steps",
        wire_format=wire_format,
        ledger_seed=config.seed if config.exchange.ledger or traced else None,
    )


def _level(config: Config, depth: int) -> LevelSection | None:
    levels = config.topology.levels
    return levels[depth] if levels else None
