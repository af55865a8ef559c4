"""How candidates are scored: a search for a winner and its rule must ask for the same."""

from __future__ import annotations

import pytest

from geoaudit.carriers.field import How
from geoaudit.carriers.select import Selecting
from geoaudit.errors import RequestError

RULE = Selecting("arditi")


def test_candidates_are_screened_beyond_what_is_wanted_of_them():
    assert How(kl_budget=0.1, frontier_kl=1.0).limit == 1.0
    assert How(kl_budget=2.0, frontier_kl=1.0).limit == 2.0, "never below the budget"
    same = {"kl_budget": RULE.kl_budget, "max_layer_fraction": RULE.max_layer_fraction}
    assert How(**same, frontier_kl=5.0, search="winner", selecting=RULE).limit == RULE.kl_budget


def test_a_winner_is_that_of_a_rule():
    with pytest.raises(RequestError, match="needs the rule whose winner is wanted"):
        How(search="winner")


@pytest.mark.parametrize("other", [{"kl_budget": 9.0}, {"max_layer_fraction": 0.25}])
def test_a_winner_of_another_budget_could_be_missed(other):
    same = {"kl_budget": RULE.kl_budget, "max_layer_fraction": RULE.max_layer_fraction}
    How(**same, search="winner", selecting=RULE)
    with pytest.raises(RequestError, match="must have the same kl_budget and max_layer_fraction"):
        How(**{**same, **other}, search="winner", selecting=RULE)
    How(**{**same, **other}, search="frontier", selecting=RULE)
