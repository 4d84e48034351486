"""The command line's ``plan``: what a configuration will do, before it is paid for."""

from __future__ import annotations

import math
import shlex
import sys
from typing import Any

import click

from ray_easgd import strict_json


class _Number(click.FloatRange):
    """In a range, which click takes nan to be in."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__(low, high)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found: float = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return found


@click.command()
@click.argument("words", nargs=-1, metavar="[CONFIG.yaml] [KEY=VALUE ...]")
@click.option(
    "--nodes", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Machines."
)
@click.option(
    "--gbit",
    type=_Number(1e-6, 1e6),
    default=10.0,
    show_default=True,
    help="Of each machine's line.",
)
@click.option("--step-ms", type=_Number(1e-6, 1e9), help="With --parameters, instead of measuring.")
@click.option("--parameters", type=_Number(1.0, 1e12), help="With --step-ms: how many they are.")
@click.option("--curvature", type=_Number(0.0, 1e12), help="Instead of measuring.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object.")
def plan(words: tuple[str, ...], *, as_json: bool, **given: Any) -> None:
    """Say whether a configuration is stable, what it costs, and what to take instead.

    Takes some gradient steps of the configuration's own task (seconds), and measures step time,
    copies of the parameters, and the largest curvature of the loss. With --step-ms and
    --parameters nothing is measured; with simulator.problem=quadratic the curvature is
    simulator.h. fleet.workers is 4 where it is absent.

    The verdict comes from the fleet's own code, wound without noise on quadratics of up to that
    curvature: a real loss is no quadratic, and its curvature changes along the way.
    """
    from ray_easgd.config import Config, split
    from ray_easgd.planner.plan import plan as make_plan
    from ray_easgd.planner.setting import setting_of

    if "" not in sys.path:
        sys.path.insert(0, "")  # module:function means the user's own, in the folder he is in
    config = Config.load(*split(words))
    found = make_plan(config, setting_of(config, **given))
    if as_json:
        click.echo(strict_json.dumps(found))
        return
    found["words"] = shlex.join(found["words"])  # as a shell takes them
    for name, value in found.items():
        if name not in ("reasons", "topology"):
            click.echo(f"{name:<20} {value}")
    for reason in found["reasons"]:
        click.echo(f"  - {reason}")
