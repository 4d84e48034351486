"""Each rule of the machines is tested: taken out, some history of theirs fails."""

from __future__ import annotations

import pytest

from tests.fleet_histories import FleetHistories
from tests.fleet_mutants import FLEET_MUTANTS
from tests.histories import Mutant, fails_without


@pytest.mark.parametrize("mutant", FLEET_MUTANTS, ids=str)
def test_a_fleet_notices_the_loss_of_a_rule(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_without(FleetHistories, mutant, monkeypatch)
