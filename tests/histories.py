"""Running random histories, and proving that a rule is tested: taken out, a history fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

_CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule taken out: ``name`` of ``owner`` does something else."""

    rule: str
    owner: Any
    name: str
    instead: Any

    def __str__(self) -> str:
        return self.rule.replace(" ", "-")


def run(histories: type[RuleBasedStateMachine], *, examples: int, steps: int) -> None:
    """They hold in this many random histories."""
    checks = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=_CHECKS,
    )
    run_state_machine_as_test(histories, settings=checks)


def fails_without(
    histories: type[RuleBasedStateMachine],
    mutant: Mutant,
    patch: pytest.MonkeyPatch,
    *,
    examples: int = 400,
    steps: int = 30,
) -> None:
    """With the rule taken out some history, always the same one, does not hold."""
    checks = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=_CHECKS,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    patch.setattr(mutant.owner, mutant.name, mutant.instead)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(histories, settings=checks)
