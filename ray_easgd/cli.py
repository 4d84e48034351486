"""The command line: ``ray-easgd train``, ``simulate``, ``show``, ``methods``, ``keys``.

Exit codes: 0 ended as asked, 1 failed, 2 bad input, 130 interrupted. With ``--json`` the last
line of standard output is one JSON object; everything a person watches goes to standard error.
"""

from __future__ import annotations

import atexit
import gc
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from ray_easgd.benchmarks_cli import benchmark
from ray_easgd.chaos_cli import chaos
from ray_easgd.cluster_cli import CLUSTER_COMMANDS
from ray_easgd.dashboard_cli import dashboard
from ray_easgd.doctor_cli import doctor
from ray_easgd.errors import BadInput, EasgdError
from ray_easgd.notices_cli import watch_notices
from ray_easgd.output import json_option, print_drawn, print_table
from ray_easgd.plan_cli import plan
from ray_easgd.processes import began_at
from ray_easgd.reproduce_cli import reproduce
from ray_easgd.strict_json import dumps
from ray_easgd.submit_cli import submit
from ray_easgd.version import __version__

_BEGAN_AT = began_at()
_TELL_EVERY_S = 5.0


@atexit.register
def _end_at_once() -> None:
    """The last collection of an interpreter with torch in it takes a second, to free nothing."""
    if "triton" not in sys.modules:  # whose bindings would tell of leaks
        gc.freeze()


class _Program(click.Group):
    """Turns our errors into one message and an exit code; nobody reads a traceback of ours."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BadInput as error:
            _fail(f"bad input: {error}", 2)
        except EasgdError as error:
            _fail(str(error), 1)
        except KeyboardInterrupt:
            _fail("interrupted; every process of the run has been ended", 130)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ray-easgd")
def main() -> None:
    """Elastic Averaging SGD on Ray: one model, trained by workers that come and go."""


@main.command()
@click.argument("words", nargs=-1, metavar="[CONFIG.yaml] [KEY=VALUE ...]")
@click.option(
    "--trace", metavar="FILE", help="Record what shaped the center, for simulate --replay."
)
@click.option("--force", is_flag=True, help="Train also what is surely not stable.")
@json_option
def train(words: tuple[str, ...], trace: str | None, force: bool, as_json: bool) -> None:
    """Train a model; without arguments EAMSGD on the digits.

    KEY=VALUE sets any key of the configuration, as in fleet.workers=4 or data=fashion_mnist, and
    wins over CONFIG.yaml. `ray-easgd keys` lists them.

    With most methods no worker waits for another. easgd_sync, gauss_seidel, two_rate, local_sgd,
    diloco and admm wait by definition: one slow or stopped worker holds up all the others.
    `ray-easgd methods` says whom each waits for.
    """
    from ray_easgd.config import Config, split
    from ray_easgd.seam import actors_module

    if "" not in sys.path:
        sys.path.insert(0, "")  # module:function means the user's own, in the folder he is in
    config = Config.load(*split(words))
    signal.signal(signal.SIGTERM, _as_interrupt)  # how a Ray job is asked to stop
    with actors_module("ahead").ahead(config, log_to_driver=False):
        try:
            trainer = actors_module("trainer").ElasticTrainer(config=config)
            metrics = trainer.fit(began_at=_BEGAN_AT, trace=trace, force=force).metrics
        except BadInput as error:  # told at once, not when a cluster is up and gone again
            _fail(f"bad input: {error}", 2)
    if not as_json:
        metrics = {k: v for k, v in metrics.items() if k != "epochs"}  # however many there are
    _show_result(metrics, as_json)


@main.command()
@click.argument("words", nargs=-1, metavar="[CONFIG.yaml] [KEY=VALUE ...]")
@click.option("--trace", metavar="FILE", help="Record what shaped each hub, in order.")
@click.option("--replay", metavar="FILE", help="Run a recorded trace again, to the bit.")
@json_option
def simulate(words: tuple[str, ...], trace: str | None, replay: str | None, as_json: bool) -> None:
    """Run a configuration on a virtual cluster: same seed, same run, to the byte.

    Takes every key that `train` takes, and those under simulator.*; without arguments EAMSGD on
    the digits with 4 virtual workers. Methods that wait (see `methods`) wait here too.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    if replay is not None:
        _show_result(_replay(replay, words, trace), as_json)
        return
    from ray_easgd.config import Config, split
    from ray_easgd.simulator.virtual_run import simulate as run

    with _progress() as tell:
        result = run(Config.load(*split(words)), trace=trace, on_progress=tell)
    _show_result(result, as_json)


@main.command()
@click.argument("path")
@json_option
def show(path: str, as_json: bool) -> None:
    """Sum up a finished run from its folder PATH."""
    from ray_easgd.report import summary
    from ray_easgd.run_folder import RunFolder

    _show_result(summary(RunFolder.open(path)), as_json)


@main.command()
@json_option
def methods(as_json: bool) -> None:
    """List the algorithms: what each is, whom its workers wait for, what an exchange conserves.

    `sum`: of worker and center; `pushes`: the center is its start and each push, once. `in_memory`:
    workers on the center's node may exchange in its memory.
    """
    from ray_easgd.algorithms import METHODS

    rows = [
        {
            "name": m.name,
            "summary": m.summary,
            "source": m.source,
            "local_step": m.local_step,
            "period": m.period,
            "lr": m.lr,
            "momentum": m.momentum,
            "waits_for": m.waits,
            "conserves": m.conserves,
            "in_memory": m.in_place,
        }
        for m in METHODS.values()
    ]
    if as_json:
        click.echo(dumps({"methods": rows}))
    else:
        columns = ["name", "summary", "waits_for", "conserves", "in_memory"]
        print_table([*columns, "period", "lr", "momentum", "source"], rows)


@main.command()
@json_option
def keys(as_json: bool) -> None:
    """List the keys of a configuration, with their defaults."""
    from ray_easgd.config import Config, describe_keys

    rows = [{"key": k, "default": d, "meaning": m} for k, d, m in describe_keys(Config())]
    if as_json:
        click.echo(dumps({"keys": rows}))
    else:
        print_table(["key", "default", "meaning"], rows)


def _replay(path: str, words: tuple[str, ...], trace: str | None) -> dict[str, Any]:
    from ray_easgd.errors import BadConfig
    from ray_easgd.simulator.replay import replay

    if words or trace:
        raise BadConfig(
            "--replay", path, "a trace brings its own configuration", "Give --replay alone."
        )
    with _progress() as tell:
        return replay(path, on_progress=tell)


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """A bar on a terminal, a line now and then elsewhere; both on standard error."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("simulating", total=1.0)
            yield lambda share, line: bar.update(task, completed=share, description=line)
        return
    told_at = time.monotonic()

    def tell(share: float, line: str) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= _TELL_EVERY_S:
            told_at = time.monotonic()
            click.echo(f"{share:4.0%}  {line}", err=True)

    yield tell


def _as_interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _show_result(metrics: Any, as_json: bool) -> None:
    if as_json:
        click.echo(dumps(dict(metrics)))
        return
    tables = {k: v for k, v in metrics.items() if isinstance(v, list)}
    plain = {k: v for k, v in metrics.items() if k not in tables}
    rows = [{"": k.replace("_", " "), " ": _readable(v)} for k, v in plain.items()]
    print_table(["", " "], rows)
    _print_tree(tables.pop("tree", []))
    for name, lines in tables.items():
        if not lines:
            continue
        click.echo(f"\n{name}")
        print_table(list(lines[0]), [{k: _readable(v) for k, v in row.items()} for row in lines])
    if "path" in metrics:
        click.echo(f"report: {metrics['path']}/report.html")


def _print_tree(nodes: list[dict[str, Any]]) -> None:
    from ray_easgd.display.tree import as_table, from_json

    if nodes:
        print_drawn(as_table(map(from_json, nodes)))


def _readable(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else "" if value is None else str(value)


for _command in CLUSTER_COMMANDS:
    main.add_command(_command)
main.add_command(submit)
main.add_command(watch_notices)
main.add_command(benchmark)
main.add_command(chaos)
main.add_command(dashboard)
main.add_command(doctor)
main.add_command(plan)
main.add_command(reproduce)
benchmark.result_callback()(lambda ended: _show_result(*ended))

if __name__ == "__main__":
    main()
