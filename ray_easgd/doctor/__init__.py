"""Why a run is slow or stuck: rules over evidence, each a function. No process, no clock, no ray.

``actors/doctor.py`` gathers the evidence from a run that is going on.
"""

from __future__ import annotations

from ray_easgd.doctor import links, numbers, processes, room
from ray_easgd.doctor.evidence import Evidence
from ray_easgd.doctor.finding import Finding

RULES = (*processes.RULES, *numbers.RULES, *links.RULES, *room.RULES)


def diagnose(evidence: Evidence) -> list[Finding]:
    """All that is wrong, processes first; empty where nothing is."""
    return [finding for rule in RULES for finding in rule(evidence)]


__all__ = ["Evidence", "Finding", "diagnose"]
