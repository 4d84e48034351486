"""Each rule of the machines is tested: taken out, some random history of theirs fails."""

from __future__ import annotations

import pytest

from tests.fleet_histories import FleetHistories
from tests.fleet_mutants import FLEET_MUTANTS
from tests.histories import Mutant, fails_without
from tests.hub_histories import HubHistories
from tests.hub_mutants import HUB_MUTANTS
from tests.lease_histories import LeaseHistories
from tests.lease_mutants import LEASE_MUTANTS


@pytest.mark.parametrize("mutant", FLEET_MUTANTS, ids=str)
def test_a_fleet_needs_each_rule(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_without(FleetHistories, mutant, monkeypatch)


@pytest.mark.parametrize("mutant", HUB_MUTANTS, ids=str)
def test_a_hub_needs_each_rule(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_without(HubHistories, mutant, monkeypatch)


@pytest.mark.parametrize("mutant", LEASE_MUTANTS, ids=str)
def test_a_lease_book_needs_each_rule(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_without(LeaseHistories, mutant, monkeypatch)
