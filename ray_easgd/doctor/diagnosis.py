"""What the doctor says of a run, as a record: the same in the terminal, as JSON and over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ray_easgd.doctor import links, numbers, processes, room
from ray_easgd.doctor.evidence import Evidence
from ray_easgd.doctor.finding import Finding

RULES = (*processes.RULES, *numbers.RULES, *links.RULES, *room.RULES)


def diagnose(evidence: Evidence) -> list[Finding]:
    """All that is wrong, processes first; empty where nothing is."""
    return [finding for rule in RULES for finding in rule(evidence)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """``steps`` of each worker in ``interval_s`` between two looks. No findings: all is well."""

    run: str
    interval_s: float
    steps: Mapping[str, int]
    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, evidence: Evidence) -> Diagnosis:
        """All that the rules say."""
        return cls(
            run=evidence.run,
            interval_s=evidence.interval_s,
            steps=evidence.moved,
            findings=tuple(diagnose(evidence)),
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, known: Mapping[str, Any]) -> Diagnosis:
        """What ``as_dict`` gave."""
        findings = tuple(Finding(**found) for found in known["findings"])
        return cls(**{**known, "findings": findings})

    def as_lines(self) -> list[str]:
        """For a reader."""
        steps = ", ".join(f"{name} {n}" for name, n in self.steps.items()) or "none known"
        lines = [f"{self.run}: steps in {self.interval_s:.1f} s: {steps}"]
        if not self.findings:
            return [*lines, "nothing wrong found"]
        for number, found in enumerate(self.findings, 1):
            cause = found.cause.replace("_", " ")
            lines += ["", f"{number}. {cause}: {found.subject}", f"   {found.evidence}"]
            lines.append(f"   Next: {found.remedy}")
        return lines
