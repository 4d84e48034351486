"""Settings that a run of the same name had otherwise, where they may change what is learned."""

from __future__ import annotations

from typing import Any

from ray_easgd.config import Config, describe_keys
from ray_easgd.errors import BadConfig

_OF_NO_EFFECT = (
    "run.", "simulator.", "evaluation.", "address", "cache_limit_gb",
    "exchange.transport", "exchange.ledger",
)  # fmt: skip
_OF_EFFECT = "fleet.max_staleness"  # of the fleet's keys: it may be another each sitting
_DECAY = "optimizer.weight_decay"
_OF_A_TREE = {"topology.levels", "algorithm.period"}

Differences = dict[str, tuple[Any, Any]]


def differing(before: Config, now: Config, given: Config) -> Differences:
    """Keys with their values before and now; ``given`` is ``now`` as the user set it.

    What was filled in for him is named only where nothing of his own differs; a tree that follows
    the nodes there are, and what stops a run, are not.
    """
    had, set_by_hand = _values(before), _values(given)
    every = {k: (had[k], value) for k, value in _values(now).items() if had[k] != value}
    if every.get(_DECAY) == (0.0, None):  # how older runs wrote that nothing was asked for
        del every[_DECAY]
    if not given.topology.levels and (before.topology.levels or now.topology.levels):
        every = {k: pair for k, pair in every.items() if k not in _OF_A_TREE}
    own = {k: pair for k, pair in every.items() if set_by_hand[k] == pair[1]}
    return own or every


def refuse_others(before: Config, now: Config, given: Config) -> None:
    """BadConfig where a finished run is asked for with other settings than it had."""
    others = differing(before, now, given)
    if before.run.rollbacks < now.run.rollbacks:
        others.pop("optimizer.lr", None)  # halved by the run itself
    if not others:
        return
    (key, (had, value)), *rest = others.items()
    too = "".join(f", and {k}={had_!r} rather than {now_!r}" for k, (had_, now_) in rest)
    raise BadConfig(
        key,
        value,
        f"run.name={now.run.name} is finished and had {had!r}{too}",
        "Choose another run.name to train anew, set it back for the old result, or raise what "
        "stops the run (stop.*) to train on.",
    )


def told(differences: Differences) -> str:
    """For a person, of a run that goes on."""
    return "; ".join(
        f"goes on with {key}={now!r}, it had {had!r}" for key, (had, now) in differences.items()
    )


def _values(config: Config) -> dict[str, Any]:
    return {
        key: value
        for key, value, _ in describe_keys(config)
        if key == _OF_EFFECT or not key.startswith((*_OF_NO_EFFECT, "fleet.", "stop."))
    }
