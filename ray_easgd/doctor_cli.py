"""The command line's ``doctor``: why a run that is going on is slow or stuck."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ray_easgd.strict_json import dumps

if TYPE_CHECKING:
    from ray_easgd.doctor import Evidence, Finding


@click.command()
@click.argument("run", required=False)
@click.option("--address", help="Of the Ray cluster; default: the one on this machine.")
@click.option(
    "--interval-s",
    type=click.FloatRange(0.1),
    help="Between its two looks; default: 5, and more where steps are slow.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object.")
def doctor(
    run: str | None, *, address: str | None, interval_s: float | None, as_json: bool
) -> None:
    """Say why a run that is going on is slow or stuck: what, the evidence, and what to do next.

    Looks at it twice, and changes nothing. Who does not answer is not waited for: it is done
    within half a minute or so. Ends with code 0 whether or not anything is wrong; with --json the
    findings are in "findings", none of them where all is well.
    """
    from ray_easgd.doctor import diagnose
    from ray_easgd.seam import actors_module

    evidence = actors_module("doctor").examine(run, address, interval_s=interval_s)
    findings = diagnose(evidence)
    if as_json:
        click.echo(dumps(as_record(evidence, findings)))
        return
    for line in as_lines(evidence, findings):
        click.echo(line)


def as_record(evidence: Evidence, findings: list[Finding]) -> dict[str, object]:
    """For JSON."""
    return {
        "run": evidence.run,
        "interval_s": evidence.interval_s,
        "steps": evidence.moved,
        "findings": [asdict(finding) for finding in findings],
    }


def as_lines(evidence: Evidence, findings: list[Finding]) -> list[str]:
    """For a reader."""
    moved = evidence.moved
    steps = ", ".join(f"{name} {n}" for name, n in moved.items()) or "none known"
    lines = [f"{evidence.run}: steps in {evidence.interval_s:.1f} s: {steps}"]
    if not findings:
        return [*lines, "nothing wrong found"]
    for number, found in enumerate(findings, 1):
        cause = found.cause.replace("_", " ")
        lines += ["", f"{number}. {cause}: {found.subject}", f"   {found.evidence}"]
        lines.append(f"   Next: {found.remedy}")
    return lines
