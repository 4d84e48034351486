"""The command line's group ``benchmark``: measurements, as ratios within one run."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from ray_easgd import strict_json
from ray_easgd.output import Folder, json_option
from ray_easgd.peers.contenders import NAMES
from ray_easgd.peers.scenes import SCENES
from ray_easgd.seam import actors_module

TRANSPORTS = ("shared_memory", "object_store")
FORMATS = ("float32", "bfloat16", "int8")
_FEWEST_EXCHANGES = 22  # two to warm up, and a median over twenty

Ended = tuple[Mapping[str, Any], bool]
"""What a command measured, and whether it is wanted as JSON."""

out_option = click.option("--out", type=Folder(), help="A folder for the pictures and the JSON.")


def count(text: str) -> int:
    """A whole number above zero; ``2.7e6`` is one too."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if number < 1 or number % 1:
        raise click.BadParameter(f"{text!r} is no whole number above zero, as 100000 or 2.7e6")
    return int(number)


@click.group()
def benchmark() -> None:
    """Measure what exchanges cost, as ratios within one run."""
    signal.signal(signal.SIGTERM, _as_interrupt)


@benchmark.command()
@click.option("--n", "sizes", type=count, multiple=True, help="Parameters, as in 2.7e6.")
@click.option("--workers", type=click.IntRange(1), multiple=True, help="Workers at one hub.")
@click.option("--transport", "transports", type=click.Choice(TRANSPORTS), multiple=True)
@click.option("--format", "formats", type=click.Choice(FORMATS), multiple=True)
@click.option(
    "--exchanges",
    type=click.IntRange(_FEWEST_EXCHANGES),
    help="Of all workers of a row together, a tenth of them to warm up.",
)
@click.option(
    "--link",
    metavar="RATE",
    help="Put the hub behind a link of this rate, as in 100mbit. Needs root, ip and tc.",
)
@json_option
def exchange(link: str | None, *, as_json: bool, **choice: Any) -> Ended:
    """One elastic exchange next to a memcpy and an all-reduce.

    Without options every transport at three sizes with 1 and 4 workers, in under 10 minutes. Each
    of --n, --workers, --transport and --format may be given several times.

    p50_ms and p99_ms are how long one worker waits for an exchange. memcpy_ratio is the wall time
    per exchange of all workers together over one memcpy of 4n bytes. allreduce_ratio is the
    median gloo all-reduce at as many processes (at least 2) over p50_ms. bare_ray_ratio is
    memcpy_ratio of plain Ray actors, a hub and as many workers, that pass the same arrays through
    the object store in float32, without anything of ours.
    """
    cases, measure = actors_module("benchmark.cases"), actors_module("benchmark.exchange")
    rows = measure.run_exchange(cases.Choice(**choice), link=link, tell=_tell)
    return rows, as_json


@benchmark.command()
@click.option("--n", "sizes", type=count, multiple=True, help="Parameters of the model.")
@click.option(
    "--period", type=click.IntRange(1), default=16, show_default=True, help="Steps per exchange."
)
@click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True)
@click.option(
    "--transport", type=click.Choice(["auto", *TRANSPORTS]), default="auto", show_default=True
)
@click.option(
    "--pairs",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Blocks with exchanges, each beside one without.",
)
@click.option("--gpu", is_flag=True, help="Train on a GPU; the hub stays in the node's memory.")
@json_option
def overhead(sizes: tuple[int, ...], *, as_json: bool, **options: Any) -> Ended:
    """A training loop's step rate with exchanges over the one without.

    Without options for models of 0.1, 2.7 and 25 million parameters.
    """
    measure = actors_module("benchmark.overhead")
    if sizes:
        options["sizes"] = sizes
    return measure.run_overhead(measure.OverheadOptions(**options), tell=_tell), as_json


@benchmark.command()
@click.option("--nodes", type=int, default=3, show_default=True, help="Each with an aggregator.")
@click.option(
    "--workers", type=click.IntRange(1), default=2, show_default=True, help="On each node."
)
@click.option(
    "--period", type=click.IntRange(1), default=4, show_default=True, help="Steps per exchange."
)
@click.option(
    "--upper-period",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Exchanges that an aggregator serves before it meets the center.",
)
@click.option("--samples", type=count, default="1000000", show_default=True)
@click.option("--data", help="Default: fashion_mnist where RAY_EASGD_DATA is set, else digits.")
@json_option
def tree(*, as_json: bool, **options: Any) -> Ended:
    """Bytes between nodes: an aggregator on each against one center.

    A Ray cluster over network namespaces on this machine, which needs root, ip and tc. Both train
    on the same samples; bytes are counted on the wires while they do.
    """
    measure = actors_module("benchmark.tree")
    return measure.run_tree(measure.TreeOptions(**options), tell=_tell), as_json


@benchmark.command()
@click.option(
    "--scene",
    type=click.Choice(list(SCENES)),
    default="a",
    show_default=True,
    help="; ".join(f"{name}: {what}" for name, what in SCENES.items()) + ".",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME[:lr=X,period=N]",
    help=f"A contender, with settings of its own; several times for more. {', '.join(NAMES)}.",
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True)
@click.option("--samples", type=count, help="Of all workers, in scene a.  [default: 216000]")
@click.option("--seconds", type=click.FloatRange(1.0), help="Of training, in the other scenes.")
@click.option(
    "--lr",
    type=click.FloatRange(0.0, min_open=True),
    help="Of all whose own the table does not give; ours over their pace.  [default: 0.02]",
)
@click.option(
    "--period",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Steps between exchanges, of all who do not exchange at each.",
)
@click.option("--data", help="Default: fashion_mnist where RAY_EASGD_DATA is set, else digits.")
@click.option("--model", help="Default: small_cnn, for the digits mlp.")
@click.option(
    "--target",
    type=click.FloatRange(0.0, 1.0),
    help="Test accuracy.  [default: 0.88]",
    default=0.88,
)
@click.option(
    "--pair-s",
    type=click.FloatRange(0.0),
    default=8.0,
    show_default=True,
    help="Seconds of the no-exchange pair before and after each contender; 0: never.",
)
@click.option("--link", default="100mbit", show_default=True, help="Rate of the link, in scene b.")
@click.option("--keep", type=Folder(), help="A new folder for all that was written.")
@out_option
@json_option
def peers(
    data: str | None,
    model: str | None,
    samples: int | None,
    lr: float | None,
    period: int,
    only: tuple[str, ...],
    out: str | None,
    *,
    as_json: bool,
    **options: Any,
) -> Ended:
    """What a user would take instead, on the same work: torch, Ray Train, torchft, hivemind, ours.

    Each contender is a program of its own with one thread a worker. Its weights are kept as it
    trains and tested when it is over. What it needs beside our packages is installed into the
    cache; one that cannot be installed has a row that says so. docs/benchmarks.md has the numbers
    and what they mean.
    """
    from ray_easgd.environment import data_root
    from ray_easgd.peers.page import write_page
    from ray_easgd.peers.workload import Workload

    measure = actors_module("benchmark.peers")
    data = data or ("fashion_mnist" if data_root() else "digits")
    model = model or ("mlp" if data == "digits" else "small_cnn")
    work = Workload(data=data, model=model, samples=samples, period=period)
    work = replace(work, lr=lr) if lr else work
    options |= {"workload": work, "only": only}
    found = measure.run_peers(measure.PeersOptions(**options), tell=_tell)
    return _kept(found, write_page, out, f"peers-{found['scene']}.json"), as_json


@benchmark.command()
@click.option("--n", "sizes", type=count, multiple=True, help="Parameters.  [default: 2.7e6]")
@click.option(
    "--gbit", "links", type=float, multiple=True, help="Of each link, each way.  [default: 1, 10]"
)
@click.option(
    "--costs",
    type=click.Path(dir_okay=False),
    help="What `benchmark exchange --json` has written.  [default: the README's table]",
)
@out_option
@json_option
def scale(
    sizes: tuple[int, ...],
    links: tuple[float, ...],
    costs: str | None,
    out: str | None,
    *,
    as_json: bool,
) -> Ended:
    """Flat centers and trees of 16 to 4096 workers, in the simulator.

    What a hub has to do for an exchange costs what was measured; nobody computes gradients. It
    takes about 3 minutes.
    """
    from ray_easgd.simulator import scaling, study_plots
    from ray_easgd.simulator.costs import Costs

    asked: dict[str, Any] = {"sizes": sizes} if sizes else {}
    if links:
        asked["bits_per_s"] = tuple(1e9 * link for link in links)
    measured = Costs.from_file(costs) if costs else Costs.from_readme()
    found = scaling.scale(scaling.Study(**asked), measured, tell=_tell)
    return _kept(found, study_plots.draw_scale, out, "scale.json"), as_json


@benchmark.command()
@click.option("--data", help="Default: fashion_mnist where RAY_EASGD_DATA is set, else digits.")
@click.option("--fan-out", type=click.IntRange(2), default=16, show_default=True)
@click.option("--steps", type=click.IntRange(20), default=640, show_default=True, help="Of a leaf.")
@out_option
@json_option
def thesis_tree(
    data: str | None, fan_out: int, steps: int, out: str | None, *, as_json: bool
) -> Ended:
    """The thesis's tree of 256 leaves against flat fleets of 16, in the simulator.

    Real gradients of a small network on a virtual clock. It takes about 5 minutes.
    """
    import torch

    from ray_easgd.environment import data_root
    from ray_easgd.simulator import study_plots, tree_study

    torch.set_num_threads(1)  # in a network so small, more of them wait for each other
    options = tree_study.TreeStudy(
        data=data or ("fashion_mnist" if data_root() else "digits"),
        fan_out=fan_out,
        looks=tree_study.looks_up_to(steps),
    )
    found = tree_study.study(options, tell=_tell)
    return _kept(found, study_plots.draw_tree, out, "thesis-tree.json"), as_json


@benchmark.command()
@click.option("--method", default="easgd", show_default=True)
@click.option(
    "--period", "periods", type=click.IntRange(1), multiple=True, help="[default: 1, 4, 16, 64]"
)
@click.option(
    "--rate", "rates", type=float, multiple=True, help="[default: 0.03, 0.1, 0.225, 0.35]"
)
@click.option("--workers", type=click.IntRange(1), default=4, show_default=True)
@click.option("--samples", type=count, default="600000", show_default=True, help="Of a run.")
@click.option("--target", type=click.FloatRange(0.0, 1.0), default=0.85, show_default=True)
@click.option("--lr", type=float, default=0.05, show_default=True)
@click.option("--data", default="fashion_mnist", show_default=True)
@click.option("--model", default="small_cnn", show_default=True)
@click.option(
    "--repeats", type=click.IntRange(1), default=5, show_default=True, help="With other seeds."
)
@click.option(
    "--side-by-side", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time."
)
@json_option
def grid(
    *,
    as_json: bool,
    workers: int,
    samples: int,
    lr: float,
    data: str,
    model: str,
    periods: tuple[int, ...],
    rates: tuple[float, ...],
    **options: Any,
) -> Ended:
    """What `plan` recommends against a grid of periods and moving rates, in time to a target.

    Every cell is trained once, the best and the recommended one --repeats times more; their
    medians are compared. 26 runs of a minute each.
    """
    from ray_easgd.peers.workload import Workload

    measure = actors_module("benchmark.grid")
    work = Workload(
        data=data, model=model, lr=lr, num_workers=workers, samples=samples, snapshot_s=0.5
    )
    options |= {name: given for name, given in (("periods", periods), ("rates", rates)) if given}
    return measure.run_grid(measure.GridOptions(workload=work, **options), tell=_tell), as_json


def _kept(
    found: dict[str, Any],
    draw: Callable[[dict[str, Any], Path], list[str]],
    out: str | None,
    name: str,
) -> dict[str, Any]:
    """With ``--out`` the same in a file, and in pictures."""
    if out is None:
        return found
    pictures = draw(found, Path(out))
    (Path(out) / name).write_text(strict_json.dumps(found), "utf-8")
    return found | {"pictures": ", ".join(pictures)}


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _as_interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
