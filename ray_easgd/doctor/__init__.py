"""Why a run is slow or stuck: rules over evidence, each a function. No process, no clock, no ray.

``actors/doctor.py`` gathers the evidence from a run that is going on.
"""

from __future__ import annotations

from ray_easgd.doctor.diagnosis import Diagnosis, diagnose
from ray_easgd.doctor.evidence import Evidence
from ray_easgd.doctor.finding import Finding

__all__ = ["Diagnosis", "Evidence", "Finding", "diagnose"]
